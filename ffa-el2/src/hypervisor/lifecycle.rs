//! The life of a VM, from its memory to what the secure world is told.

use ffa_hyp_glue::Creation;
use ffa_teardown::VmKey;

use crate::guest::Task;
use crate::recipe::Recipe;
use crate::vm_id::VmId;
use crate::vms::Contents;
use crate::{ffa, scheduler, vms};

/// What became of a VM that was to be created.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Born {
    /// It can start. With a mediator, this is what that calls it.
    Live(Option<VmKey>),
    /// An SP did not want it. What had been done is being undone.
    Failed,
    /// Nothing was done.
    Refused,
}

/// Makes a VM for a guest of ours, and tells the secure world. Waits for SPs that take their time.
pub fn create(id: VmId, loose_pages: usize) -> Born {
    create_with(id, Contents::Own { loose_pages })
}

/// The same for any guest.
pub fn create_with(id: VmId, contents: Contents) -> Born {
    if vms::create(id, contents).is_err() {
        return Born::Refused;
    }
    let Some(created) = ffa::create_vm(id) else { return Born::Live(None) };
    let Ok((key, mut creation)) = created else {
        vms::destroy(id);
        return Born::Refused;
    };
    if creation == Creation::Pending {
        let mediator = ffa::mediator().expect("it created the VM");
        scheduler::run(|| mediator.creation(key) != Creation::Pending);
        creation = mediator.creation(key);
    }
    match creation {
        Creation::Live => Born::Live(Some(key)),
        Creation::Pending | Creation::Failed(_) => {
            vms::destroy(id);
            Born::Failed
        }
    }
}

/// Lets the VM's guest begin with `task`. It gets the interrupt that nobody was there for.
pub fn start(id: VmId, key: Option<VmKey>, task: Task) {
    vms::start(id, key, task);
    if let Some(key) = key {
        ffa::vcpu_online(key);
    }
}

/// Lets the guest begin that the VM was made from. Likewise.
pub fn start_hosted(id: VmId, key: Option<VmKey>, recipe: &Recipe) {
    vms::start_hosted(id, key, recipe);
    if let Some(key) = key {
        ffa::vcpu_online(key);
    }
}

/// Ends a VM. What the secure world still has of it, teardown gets back.
pub fn destroy(id: VmId) {
    vms::stop(id);
    ffa::destroy_vm(id);
    vms::destroy(id);
}
