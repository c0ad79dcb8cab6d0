use crate::{Event, EventKind};

/// Turns an event into one of `tracing`, at level `WARN` when something went wrong and `DEBUG` otherwise.
pub fn trace(event: &Event) {
    let vm = event.vm.0;
    let sp = event.sp.map(|sp| sp.0);
    let handle = event.handle.map(ffa_abi::Handle::get);
    match event.kind {
        EventKind::Quarantined { .. }
        | EventKind::Doubtful { .. }
        | EventKind::CreationFailed
        | EventKind::NotListed => {
            tracing::warn!(vm, sp, handle, kind = ?event.kind);
        }
        EventKind::GuestCall { function, status } => {
            tracing::debug!(vm, sp, handle, function, status = status.map(ffa_abi::Status::name));
        }
        EventKind::SecureCall { call, answer, decision } => {
            let status = answer.status().map(ffa_abi::FirmwareStatus::code);
            tracing::debug!(vm, sp, handle, %call, status, answer = ?answer.class, ?decision);
        }
        _ => tracing::debug!(vm, sp, handle, kind = ?event.kind),
    }
}
