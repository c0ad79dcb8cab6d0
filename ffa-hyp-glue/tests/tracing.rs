//! The adapter turns events into `tracing`'s, with VM, SP, handle and status as fields.

#![cfg(feature = "tracing")]

mod common;

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use common::*;
use ffa_abi::{Function, Regs, Status};
use ffa_hyp_glue::trace;
use ffa_test_utils::fault::{CallKind, Fault, FaultAction, FaultPlan, When};
use ffa_test_utils::spmc::Preset;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};

/// Keeps level and fields of each event.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<(Level, String)>>>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!("{}={value:?} ", field.name());
    }
}

impl Subscriber for Kept {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push((*event.metadata().level(), fields.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn events_become_events() {
    let mut world = World::new(Preset::Strict);
    let handle = world.share(VM1, SP1, &[(PAGES, 3)]);
    assert_eq!(world.reclaim(VM1, handle), Regs::error(Status::Denied));
    let refuse = FaultAction::Refuse(Status::Aborted.into());
    let call = CallKind::function(Function::MemReclaim);
    *world.hypervisor.plan_mut() = FaultPlan::new([Fault { call, when: When::Every, action: refuse }]);
    world.destroy(VM1);
    assert!(world.hypervisor.settle(LONG));
    let events = world.hypervisor.take_events();

    let kept = Kept::default();
    tracing::subscriber::with_default(kept.clone(), || events.iter().for_each(|(_, event)| trace(event)));
    let kept = kept.0.lock().unwrap();
    assert_eq!(kept.len(), events.len());
    let has = |level, fields: &str| {
        assert!(kept.iter().any(|(at, found)| *at == level && found.contains(fields)), "{fields}: {kept:#?}");
    };
    has(Level::DEBUG, "vm=1 function=2214592631 status=\"DENIED\"");
    has(Level::DEBUG, "vm=1 sp=32769 call=VM_DESTROYED");
    has(Level::DEBUG, &format!("vm=1 handle={} call=FFA_MEM_RECLAIM status=-8", handle.get()));
    has(Level::WARN, "vm=1 kind=Quarantined { pages: 3 }");
}
