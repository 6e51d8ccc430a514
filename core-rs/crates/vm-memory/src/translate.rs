//! vm-memory's trait.

use std::sync::Arc;

use vm_memory::iommu::{Error, Iotlb, IotlbIterator, IovaRange};
use vm_memory::{GuestAddress, Iommu, Permissions};

use crate::reach::{Unreachable, reach};
use crate::tce_iommu::TceIommu;

impl Iommu for TceIommu {
    /// Holds the translations of one access, and no lock: an access that runs hinders no hypercall, and a thread may begin one
    /// access within another.
    type IotlbGuard<'a> = Arc<Iotlb>;

    /// All of a range, or an error: [`Error::CannotResolve`] with the first part of it that cannot be reached, and
    /// [`Error::IommuMisconfigured`] if a thread panicked while it changed a table.
    ///
    /// A range within one window is translated as one moment knows it: every hypercall is seen as a whole or not at all.
    ///
    /// The very last byte of the 64-bit space can not be reached, because vm-memory's ranges do not hold their ends.
    fn translate(
        &self,
        iova: GuestAddress,
        length: usize,
        access: Permissions,
    ) -> Result<IotlbIterator<Arc<Iotlb>>, Error> {
        let mut iotlb = Iotlb::new();
        let length_64 = length as u64;
        let refused = |reason: &str| Unreachable { start: iova.0, length: length_64, reason: reason.to_owned() };
        if iova.0.checked_add(length_64).is_none() {
            return Err(refused("it does not end below the top of the space").into());
        }
        if let Some(length_minus_1) = length_64.checked_sub(1) {
            let last = iova.0.saturating_add(length_minus_1);
            reach(&self.windows(), iova.0, last, access, &mut iotlb)?;
        }
        // What was put in above covers the range, so nothing is missed.
        Iotlb::lookup(Arc::new(iotlb), iova, length, access).map_err(|_| refused("it is not mapped").into())
    }
}

impl From<Unreachable> for Error {
    fn from(Unreachable { start, length, reason }: Unreachable) -> Self {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        Self::CannotResolve { iova_range: IovaRange { base: GuestAddress(start), length }, reason }
    }
}
