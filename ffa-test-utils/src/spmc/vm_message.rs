//! Messages about VMs: to whom they are delivered, and what their receivers remember.

use ffa_abi::{FirmwareStatus, PartitionId, Status, VmAvailability, framework};

use super::config::{VmMemory, VmMessages, VmSender};
use super::model::SpmcModel;
use super::partition::{Request, RequestKind};

impl SpmcModel {
    /// The message about a VM in a framework request, if it may be delivered.
    pub(super) fn vm_request(
        &self,
        w2: u32,
        sender: PartitionId,
        receiver: PartitionId,
        payload: &[u64; 5],
    ) -> Result<RequestKind, Status> {
        let event = match w2 as u8 {
            framework::VM_CREATED => VmAvailability::Created,
            framework::VM_DESTROYED => VmAvailability::Destroyed,
            _ => return Err(Status::InvalidParameters),
        };
        let subscribed = self.partition(receiver).is_some_and(|sp| sp.wants(event));
        let from_hypervisor = sender == PartitionId::HYPERVISOR;
        let refused = match self.config.vm_messages {
            VmMessages::PerSpSubscription { from } => {
                !subscribed || from == VmSender::Hypervisor && !from_hypervisor
            }
            VmMessages::Unfiltered => false,
            VmMessages::BuiltIn { virtualization } if self.is_built_in(receiver) => {
                if !virtualization {
                    return Err(Status::NotSupported);
                }
                false
            }
            VmMessages::BuiltIn { .. } => !subscribed || !from_hypervisor,
        };
        if refused {
            return Err(Status::InvalidParameters);
        }
        Ok(RequestKind::Vm { event, vm: PartitionId(payload[2] as u16) })
    }

    /// The partition does what it was asked; a status if its memory of the VM is against it.
    pub(super) fn carry_out(&mut self, request: Request) -> Option<FirmwareStatus> {
        let RequestKind::Vm { event, vm } = request.kind else { return None };
        let sp = request.receiver;
        if self.remembers_otherwise(sp, event, vm) {
            return Some(Status::InvalidParameters.into());
        }
        let built_in = self.is_built_in(sp);
        match event {
            VmAvailability::Created => {
                if let Some(partition) = self.partition_mut(sp) {
                    partition.vms.insert(vm);
                }
                if built_in {
                    let guest = self.store.guest_mut(vm);
                    guest.generation += u32::from(guest.live == 0);
                    guest.live += 1;
                }
            }
            VmAvailability::Destroyed => {
                if let Some(partition) = self.partition_mut(sp) {
                    partition.vms.remove(&vm);
                }
                if built_in {
                    let guest = self.store.guest_mut(vm);
                    guest.live = guest.live.saturating_sub(1);
                    if guest.live == 0 {
                        // The guest's partition goes with all that was kept in it.
                        self.vms.remove(&vm);
                        self.store.abandon_of(vm);
                    }
                }
                self.release(sp, vm);
            }
        }
        None
    }

    fn remembers_otherwise(&mut self, sp: PartitionId, event: VmAvailability, vm: PartitionId) -> bool {
        if self.is_built_in(sp) {
            return event == VmAvailability::Created && vm == PartitionId::HYPERVISOR;
        }
        let policy = self.config.vm_memory;
        let Some(partition) = self.partition_mut(sp).filter(|_| policy != VmMemory::None) else {
            return false;
        };
        let known = partition.vms.contains(&vm);
        let wrong = match event {
            VmAvailability::Created => known,
            // Who is told of ends alone knows nobody.
            VmAvailability::Destroyed => !known && partition.wants(VmAvailability::Created),
        };
        if wrong && policy == VmMemory::Sticky {
            partition.sticky.insert(vm);
        }
        wrong || partition.sticky.contains(&vm)
    }
}
