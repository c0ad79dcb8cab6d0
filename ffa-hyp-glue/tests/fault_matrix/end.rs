//! What comes after the life of VM 1.

use ffa_abi::{PartitionId, Regs, Version};
use ffa_hyp_glue::{Creation, EventKind};
use ffa_mem::SendFlags;
use ffa_test_utils::hypervisor::{Region, Smc, Violation};
use ffa_test_utils::spmc::LiveHandle;

use crate::common::sends::SHARE;
use crate::common::*;
use crate::life::{Left, Life, MEM_FRAG_TX, kind, named_by};
use crate::plans::is_send;

impl Life {
    /// What is said of VM 1 agrees with what is so: of its pages that nobody can have each is tried again, or given up and
    /// told of once.
    #[track_caller]
    pub fn check_books(&mut self) {
        let hypervisor = &mut self.world.hypervisor;
        let orphans = hypervisor.orphans(Some(VM1));
        let report = hypervisor.report(VM1);
        assert_eq!(report.map_or(0, |report| report.pages), orphans, "{report:?}");
        let mediator = hypervisor.mediator();
        let listed: Vec<_> =
            (0..).map_while(|skip| mediator.quarantined(skip)).filter(|one| one.vm == VM1).collect();
        let pages: u64 = listed.iter().map(|one| one.pages).sum();
        let open = report.map_or(0, |report| report.open);
        assert!(pages == orphans || open > 0 && hypervisor.deadline().is_some(), "{listed:?} {report:?}");
        let events = hypervisor.take_events().into_iter();
        let of_vm = events.filter(|(_, event)| event.vm == VM1);
        let events: Vec<u64> = of_vm
            .filter_map(|(_, event)| match event.kind {
                EventKind::Quarantined { pages } => Some(pages.into()),
                _ => None,
            })
            .collect();
        assert_eq!((events.len(), events.iter().sum()), (listed.len(), pages), "{listed:?}");
    }

    /// The faults end, the partitions are restarted, and what was given up is tried again.
    pub fn heal(&mut self) {
        let hypervisor = &mut self.world.hypervisor;
        hypervisor.plan_mut().clear();
        hypervisor.restart(SP1);
        hypervisor.restart(SP2);
        let _ = hypervisor.retry(None);
        assert!(hypervisor.settle(LONG), "{}: {:?}", self.world.preset, hypervisor.report(VM1));
    }

    /// VM 2 has back what it shared, shares once more, and dies.
    pub fn end_other(&mut self) {
        for handle in core::mem::take(&mut self.others) {
            assert_eq!(self.world.reclaim(VM2, handle), Regs::success(0, 0), "{}", self.world.preset);
        }
        self.other_shares();
        let shares = self.others.len() == 1;
        assert!(shares || self.serves_less, "{}: VM 2 cannot share any more", self.world.preset);
        self.world.destroy(VM2);
        assert!(self.world.hypervisor.settle(LONG));
    }

    /// What is left of both.
    pub fn left(&self) -> Left {
        let frames = self.world.hypervisor.frames();
        Left { kept: frames.orphans + frames.leaked, donated: frames.donated }
    }

    /// What the secure world still has under the ID of VM 1, if that is free, and whether it has told that handle.
    pub fn stale(&self) -> Vec<(LiveHandle, bool)> {
        if self.world.hypervisor.report(VM1).is_some() {
            return Vec::new();
        }
        let mut named = Vec::new();
        for (Smc { regs, answer, .. }, _) in &self.smcs {
            if is_send(&kind(regs)) {
                named.extend(named_by(answer));
            }
        }
        let spmc = self.world.hypervisor.spmc();
        spmc.live_handles()
            .filter(|live| live.owner == VM1)
            .map(|live| (live, named.contains(&live.handle)))
            .collect()
    }

    /// The secure world keeps no buffers, bitmap or notifications under the ID of VM 1, if that is free.
    #[track_caller]
    pub fn check_kept(&self) {
        if self.world.hypervisor.report(VM1).is_none() {
            let kept: Vec<_> = self.world.hypervisor.spmc().kept().filter(|kept| kept.vm == VM1).collect();
            assert_eq!(kept, [], "{}", self.world.preset);
        }
    }

    /// A VM that is born with the ID that VM 1 had, or with another if that is retired, sees nothing of it.
    pub fn newborn(&mut self) {
        let memory = [Region::block(TX, 16)];
        let retired = self.world.hypervisor.report(VM1).is_some();
        if retired {
            assert!(self.world.hypervisor.create(VM1, &memory).is_err());
        }
        let vm = if retired { PartitionId(3) } else { VM1 };
        let created = self.world.hypervisor.create(vm, &memory);
        if created.is_err() && self.serves_less {
            return;
        }
        assert_eq!(created, Ok(Creation::Live), "{}", self.world.preset);
        let nothing = |answer: &Regs| status_of(answer).is_some();
        assert!(nothing(&self.call(vm, [0x8400_0069])), "no version yet");
        self.world.negotiate(vm, Version::V1_1);
        assert!(nothing(&self.call(vm, [0x8400_0065])), "no RX");
        assert!(nothing(&self.call(vm, [0x8400_0067])), "no buffers");
        let get = self.call(vm, [0x8400_0082, u64::from(vm.0), 0xf]);
        assert!(nothing(&get) || get == Regs::success(0, 0), "no notifications: {get:x?}");
        let pending = self.call(vm, [0xc400_0083]);
        assert!(nothing(&pending), "nobody has any: {pending:x?}");
        let mapped = self.call(vm, [0xc400_0066, TX, RX, 1]);
        assert!(mapped == Regs::success(0, 0) || self.serves_less, "{}: {mapped:x?}", self.world.preset);
        let mut found = [0xff; 16 * PAGE as usize];
        self.world.hypervisor.read(vm, TX, &mut found);
        assert!(found.iter().all(|byte| *byte == 0), "its memory is as new");
        for handle in core::mem::take(&mut self.told) {
            let [low, high] = handle.words();
            for head in [[MEM_RECLAIM, low, high, 0], [MEM_FRAG_TX, low, high, 16]] {
                let smcs = self.world.hypervisor.smcs();
                assert!(nothing(&self.call(vm, head)), "{}: {head:x?}", self.world.preset);
                assert_eq!(self.world.hypervisor.smcs(), smcs, "{}: {head:x?}", self.world.preset);
            }
        }
        let bytes = SHARE.describe_in(Version::V1_1, vm, &[SP2], &[(PAGES, 2)], SendFlags::NONE);
        for _ in 0..2 {
            let answer = self.world.send(vm, &bytes);
            match handle_of(&answer) {
                Some(handle) => assert_eq!(self.world.reclaim(vm, handle), Regs::success(0, 0)),
                None => assert!(self.serves_less, "{}: {answer:x?}", self.world.preset),
            }
        }
        let _open = self.world.send(vm, &bytes);
        self.world.destroy(vm);
        assert!(self.world.hypervisor.settle(LONG));
        assert_eq!(self.world.hypervisor.report(vm), None, "{}", self.world.preset);
    }

    /// What must never happen and did.
    pub fn violations(&self) -> Vec<Violation> {
        self.world.hypervisor.violations()
    }
}
