//! What the system tells of itself and of devices. Deno reads nothing below `/sys` unless it may do everything; whoever may load
//! this library may.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::errno::{Errno, Outcome};

/// The last name of what a link below `/sys` leads to.
pub(crate) fn link_name(path: &Path) -> Outcome<Vec<u8>> {
    let target = fs::read_link(below(path)?)?;
    target.file_name().map(|name| name.as_bytes().to_vec()).ok_or(Errno(libc::EINVAL))
}

/// The names in a folder below `/sys`, in their order, with a zero after each.
pub(crate) fn names(path: &Path) -> Outcome<Vec<u8>> {
    let mut names = fs::read_dir(below(path)?)?.map(|entry| Ok(entry?.file_name())).collect::<Outcome<Vec<_>>>()?;
    names.sort();
    Ok(names.iter().flat_map(|name| name.as_bytes().iter().copied().chain([0])).collect())
}

/// The kernel's release, as `6.12.95`.
pub(crate) fn kernel_release() -> Outcome<Vec<u8>> {
    Ok(fs::read("/proc/sys/kernel/osrelease")?.trim_ascii_end().to_vec())
}

fn below(path: &Path) -> Outcome<PathBuf> {
    if path.components().all(|part| matches!(part, Component::Normal(_))) {
        Ok(Path::new("/sys").join(path))
    } else {
        Err(Errno(libc::EINVAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_of_sysfs_is_read() {
        for path in ["../etc/hostname", "/etc", "bus/../../etc"] {
            assert_eq!(names(Path::new(path)), Err(Errno(libc::EINVAL)));
            assert_eq!(link_name(Path::new(path)), Err(Errno(libc::EINVAL)));
        }
    }

    #[test]
    fn a_release_begins_with_a_number() {
        assert!(kernel_release().unwrap().first().is_some_and(u8::is_ascii_digit));
    }

    #[test]
    fn a_folder_has_its_names_and_what_is_not_there_is_enoent() {
        let all = names(Path::new("bus")).unwrap();
        assert!(all.split(|byte| *byte == 0).any(|name| name == b"platform" || name == b"pci"));
        assert_eq!(names(Path::new("no/such")), Err(Errno(libc::ENOENT)));
        assert_eq!(link_name(Path::new("no/such")), Err(Errno(libc::ENOENT)));
    }
}
