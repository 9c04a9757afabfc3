//! A process that holds keys leaves no copy of its memory behind.

use rustix::{
    mm::{MlockAllFlags, mlockall},
    process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit},
};

/// No core dump, no ptrace by other users, pages stay in memory.
///
/// Each step stands alone; one the kernel refuses is logged, because a session without swap is still closed.
pub fn harden() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps stay allowed");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "process stays dumpable");
    }
    // On fault: what was never touched needs no page, so threads' stacks do not cost memory.
    let lock = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    if let Err(error) = mlockall(lock) {
        tracing::warn!(%error, "memory is not locked; harmless without swap");
    }
}
