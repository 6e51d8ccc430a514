//! Every example ends well: they assert what they show.

#[path = "../examples/hotplug.rs"]
mod hotplug;
#[path = "../examples/rebuild.rs"]
mod rebuild;
#[path = "../examples/rollback.rs"]
mod rollback;
#[path = "../examples/window.rs"]
mod window;

use std::error::Error;

#[test]
fn a_hotplug_leaves_host_and_guest_in_step() -> Result<(), Box<dyn Error>> {
    hotplug::main()
}

#[test]
fn a_log_becomes_tables() -> Result<(), Box<dyn Error>> {
    rebuild::main()
}

#[test]
fn a_refused_map_is_rolled_back() -> Result<(), Box<dyn Error>> {
    rollback::main()
}

#[test]
fn a_window_is_created_used_saved_and_restored() -> Result<(), Box<dyn Error>> {
    window::main()
}
