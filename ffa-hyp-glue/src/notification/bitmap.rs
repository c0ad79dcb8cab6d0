//! Where the SPMC keeps what SPs have signalled a VM.

use ffa_abi::{Answer, NotificationBitmapCreate};
use ffa_teardown::{Phase, Standing, VmKey};

use crate::{Event, EventKind, Mediator, Platform, Stores};

/// Whether the SPMC keeps notifications for a VM.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Bitmap {
    /// It has not been asked to: the VM is still being created.
    NotYet,
    /// It is being asked.
    Creating,
    /// It does not, or it may, but not for the guest's use.
    None,
    /// It does.
    There,
}

impl Bitmap {
    /// Whether the VM's creation waits for no bitmap.
    pub(crate) fn is_settled(self) -> bool {
        matches!(self, Self::None | Self::There)
    }

    pub(crate) fn is_there(self) -> bool {
        self == Self::There
    }
}

impl<P: Platform, S: Stores<P>> Mediator<P, S> {
    /// The last step of a VM's creation, after every SP has taken note: OP-TEE keeps nothing for a VM that it has not been told of.
    ///
    /// A VM without bitmap lives, and its guest finds no notifications.
    pub(crate) fn create_bitmap(&self, hyp: &mut P, vm: VmKey) {
        let mut state = self.lock();
        let Ok((engine, record)) = state.engine_and_record(vm) else { return };
        // Whoever finds that the last one has taken note comes here once more.
        if record.bitmap != Bitmap::NotYet || engine.phase(vm) != Ok(Phase::Live) {
            return;
        }
        record.bitmap = Bitmap::None;
        if !self.served.spmc_notifies() {
            return;
        }
        let Ok(begun) = engine.begin_standing(vm, Standing::Bitmap) else { return };
        record.bitmap = Bitmap::Creating;
        record.enter();
        let vcpus = record.vcpus.as_mut().len() as u32;
        drop(state);
        self.take_reference(hyp, vm, begun.take_reference);
        let create = NotificationBitmapCreate { vm: vm.id(), vcpus };
        let answer = Answer::from_regs(&hyp.call(&create.to_regs()));
        let mut state = self.lock();
        let noted = match answer {
            Answer::Error(_) => state.engine.standing_over(vm, begun.id),
            _ => state.engine.standing_incurred(vm, begun.id),
        };
        debug_assert_eq!(noted, Ok(()));
        let there = matches!(answer, Answer::Success(_));
        if let Ok(record) = state.record(vm) {
            record.bitmap = if there { Bitmap::There } else { Bitmap::None };
        }
        self.leave(hyp, state, vm);
        if !there {
            hyp.event(&Event::new(vm.id(), EventKind::WithoutNotifications));
        }
    }
}
