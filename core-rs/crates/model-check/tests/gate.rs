use giommu_model_check::host::HostKind;
use giommu_model_check::model::Interleavings;
use giommu_model_check::setup::Setup;
use giommu_model_check::run::SIGHTS;
use stateright::{Checker, Model};

#[test]
fn explore() {
    let pages = std::env::var("P").ok().and_then(|p| p.parse().ok()).unwrap_or(2);
    let refusals = std::env::var("R").ok().and_then(|p| p.parse().ok()).unwrap_or(2);
    let seats = std::env::var("S").unwrap_or("ta".into());
    let hosts: Vec<HostKind> = seats.chars().map(|c| match c {'t'=>HostKind::Type1,'a'=>HostKind::Atomic,'e'=>HostKind::Exact,'q'=>HostKind::Quiesced,_=>HostKind::Holes}).collect();
    let mut setup = Setup::new(pages, &hosts);
    setup.refusals = refusals;
    setup.unplugs = std::env::var("U").is_ok();
    let t = std::time::Instant::now();
    let checker = Interleavings::new(setup).checker().threads(2).spawn_bfs().join();
    println!("{} unique, {} transitions, depth {}, {:?}", checker.unique_state_count(), checker.state_count(), checker.max_depth(), t.elapsed());
    for sight in SIGHTS { println!("{sight:?} {}", checker.model().seen(sight)); }
    for (name, path) in checker.discoveries() {
        println!("BROKEN {name}");
        for (state, action) in path.clone().into_vec() { println!("   {action:?}"); if std::env::var("V").is_ok() { println!("      {state:?}\n"); } }
    }
}
