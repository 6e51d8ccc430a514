use super::{BUID, FIRST, Guest, UNIT};
use crate::address::{Gpa, Iova};
use crate::perm::Perm;
use crate::spapr::{DmaChunk, DmaDevice, DmaReach, PhbConfig, token};

#[test]
fn the_higher_liobn_hides_the_lower_where_they_overlap() {
    let mut guest = Guest::new();
    let config = PhbConfig { dma64_win_addr: Iova(0x8000), ..PhbConfig::new(1) };
    guest.machine.add_phb(config).expect("a bridge");
    guest.remove(0x8000_0100);
    let create = |page, window| [0, BUID[0], BUID[1] + 1, page, window];
    assert_eq!(guest.rtas(token::CREATE, &create(16, 20), 4), [0, 0x8000_0100, 0, 0]);
    assert_eq!(guest.rtas(token::CREATE, &create(12, 13), 4), [0, 0x8000_0101, 0, 0x8000]);
    guest.put(0x8000_0100, 0, 0x10_0003);
    guest.put(0x8000_0101, 0x9000, 0x20_0001);
    let chunk = |at| guest.machine.translate(DmaDevice::Pci(1), Iova(at), u64::MAX);
    let reach = |at, wanted| chunk(at).reach.target(wanted);
    assert_eq!(reach(0x7fff, Perm::READ_WRITE), Some(Gpa(0x10_7fff)));
    assert_eq!(chunk(0x7000).bytes, 0x1000, "a page of the lower one ends where the higher begins");
    assert_eq!(reach(0x8000, Perm::READ), None, "hidden by an entry that allows nothing");
    assert_eq!(reach(0x9000, Perm::READ), Some(Gpa(0x20_0000)));
    assert_eq!(reach(0x9000, Perm::WRITE), None, "hidden by an entry that allows less");
    assert_eq!(reach(0xa000, Perm::READ), Some(Gpa(0x10_a000)), "beyond its end the lower one shows");
    assert_eq!(chunk(0x10_0000).reach, DmaReach::Nothing);
}

#[test]
fn a_transfer_ends_at_the_top_of_the_space_and_starts_over_at_0() {
    let mut guest = Guest::new();
    guest.put(FIRST, 0, 0x1003);
    let mut ram = vec![7; 0x3000];
    let mut read = [9; 8];
    let device = DmaDevice::Pci(0);
    assert!(!guest.machine.dma_read(device, Iova(u64::MAX - 3), &mut read, ram.as_slice()));
    assert_eq!(read, [0, 0, 0, 0, 7, 7, 7, 7]);
    assert!(guest.machine.dma_write(device, Iova(0xffc), &[1, 2, 3, 4], ram.as_mut_slice()));
    assert_eq!(ram[0x1ffb..0x2001], [7, 1, 2, 3, 4, 7]);
    let chunk = guest.machine.translate(DmaDevice::Pci(9), Iova(0), u64::MAX);
    assert_eq!(chunk, DmaChunk { bytes: u64::MAX, reach: DmaReach::Nothing });
}

#[test]
fn bypass_reaches_memory_past_the_table() {
    let (mut guest, mut ram) = (Guest::new(), vec![7; 0x1000]);
    let (device, mut word) = (DmaDevice::Vio(UNIT), [0; 4]);
    assert!(!guest.machine.dma_read(device, Iova(0), &mut word, ram.as_slice()));
    guest.rtas(token::SET_TCE_BYPASS, &[UNIT, 2], 0);
    assert!(guest.machine.dma_read(device, Iova(0), &mut word, ram.as_slice()));
    assert_eq!(word, [7; 4]);
    assert!(!guest.machine.dma_write(device, Iova(0xffe), &[1; 4], ram.as_mut_slice()), "only half of it is RAM");
    assert_eq!(ram[0xffd..], [7, 1, 1]);
}
