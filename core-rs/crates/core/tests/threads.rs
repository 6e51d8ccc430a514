//! What may be used from several threads, as the README says. It compiles, or it does not.

use giommu_core::container::Container;
use giommu_core::tce_table::{Change, EntryBudget, TceTable};
use giommu_core::trace::parser::Parser;
use giommu_core::walker::Walker;

const fn is_send_and_sync<T: Send + Sync>() {}

const _: () = {
    is_send_and_sync::<TceTable>();
    is_send_and_sync::<Change>();
    is_send_and_sync::<EntryBudget>();
    is_send_and_sync::<Container>();
    is_send_and_sync::<Walker>();
    is_send_and_sync::<Parser>();
};
