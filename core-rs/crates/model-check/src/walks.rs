//! Random walks through the model, written down: what the TypeScript that is transcribed here must do as well.
//!
//! A line is a walk: the hosts, the number of pages, `unplugs` or `stays`, then its steps. A step is
//! `ACT:ANSWERS=ENDED,NOTIFIERS,TABLE,HOST…`. Acts are `W0AB.` (a call stores A, B and nothing from entry 0 on), `a1` (attach
//! container 1), `p1` (attach it in steps), `s1` (step), `d1` (detach), `n1` (a new one), `H` and `S` (hide, show). Answers
//! are `y` and `n`, one per call on a host. Ended is `s`, `r` or `h` for what a guest gets (success, -44, -1), `+` or `x` for
//! what throws nothing or something. Tables and hosts have a letter per page, `R` for RAM; behind a host's `!` are the pages
//! that its failed container names.

use core::fmt::Write as _;

use crate::act::{Act, Ended, Led};
use crate::answers::Answers;
use crate::guest_call::Answer;
use crate::host::HostKind::{self, Atomic, Exact, Quiesced, Type1};
use crate::host::Reach;
use crate::mirror::RAM;
use crate::seat::Seat;
use crate::setup::Setup;
use crate::value::{VALUES, Value};
use crate::world::World;

/// Steps of one walk.
const STEPS: usize = 30;
/// Walks of one setup.
const WALKS: u64 = 40;
/// No act of a few pages makes more calls.
const ANSWERS: usize = 40;

/// All of them; the same every time.
#[must_use]
pub fn walks() -> String {
    let setups = [
        Setup::new(3, &[Type1, Atomic]),
        Setup::new(4, &[Type1, Type1]),
        Setup::new(4, &[Atomic, Atomic]),
        Setup::new(3, &[Quiesced, Exact]),
        Setup::new(3, &[Type1, Quiesced]).with_unplug(),
    ];
    let mut out = String::new();
    for (number, setup) in (1..).zip(&setups) {
        for walk in 1..=WALKS {
            out.push_str(&one(setup, &mut Dice(number * 1_000_003 + walk)));
            out.push('\n');
        }
    }
    out
}

/// A generator of random numbers: `xorshift64*`, which needs no crate and stays what it is.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap_or(0) % bound.max(1)
    }
}

fn one(setup: &Setup, dice: &mut Dice) -> String {
    let hosts: Vec<&str> = setup.hosts.iter().map(|kind| host_name(*kind)).collect();
    let unplugs = if setup.unplugs { "unplugs" } else { "stays" };
    let mut line = format!("{} {} {unplugs}", hosts.join(","), setup.pages);
    let writes = Act::writes(setup.pages);
    let mut world = World::new(setup);
    for _ in 0..STEPS {
        // Half of all acts are a guest's; short calls are as frequent as long ones.
        let act = if dice.below(2) == 0 {
            let length = 1 + dice.below(setup.pages as usize);
            let fitting: Vec<&Act> = writes.iter().filter(|act| act.length() == length).collect();
            fitting[dice.below(fitting.len())].clone()
        } else {
            let mut others = vec![if world.is_hidden { Act::Show } else { Act::Hide }];
            // A detach comes seldom, or nothing would ever be attached for long.
            let seats = world.seats.iter().enumerate().flat_map(|(number, seat)| Act::of(number, seat));
            let is_kept = |act: &Act| !matches!(act, Act::Detach { .. });
            let (kept, rare): (Vec<Act>, Vec<Act>) = seats.partition(is_kept);
            others.extend(kept.iter().cloned().chain(kept.clone()));
            others.extend(rare.into_iter().filter(|_| dice.below(4) == 0));
            others[dice.below(others.len())].clone()
        };
        // Most calls go well; in some acts, several do not.
        let chance = [100, 12, 3][dice.below(3)];
        let answers = Answers((0..ANSWERS).map(|_| dice.below(chance) != 0).collect());
        let Led { to, ended, asked, .. } = act.done(&world, setup, &answers);
        assert!(to.breaches.is_empty() && asked <= ANSWERS, "{act:?} {answers:?} leads to {to:#?}");
        let _ = write!(line, " {}:{}={}", act_name(&act), answered(&answers, asked), ended_name(&ended));
        let _ = write!(line, ",{},{}", to.notifiers.len(), letters(&to, |page| to.table.translate(page)));
        for seat in &to.seats {
            let _ = write!(line, ",{}{}", letters(&to, |page| seat.host.translate(page)), failed(seat));
        }
        world = to;
    }
    line
}

fn host_name(kind: HostKind) -> &'static str {
    match kind {
        Type1 => "type1",
        Exact => "exact",
        Atomic => "atomic",
        Quiesced => "quiesced",
        HostKind::Holes => "holes",
    }
}

fn act_name(act: &Act) -> String {
    match act {
        Act::Write { first, values } => format!("W{first}{}", values.iter().map(letter).collect::<String>()),
        Act::Attach { seat, stepwise: false } => format!("a{seat}"),
        Act::Attach { seat, stepwise: true } => format!("p{seat}"),
        Act::Step { seat } => format!("s{seat}"),
        Act::Detach { seat } => format!("d{seat}"),
        Act::Replace { seat } => format!("n{seat}"),
        Act::Hide => "H".to_string(),
        Act::Show => "S".to_string(),
    }
}

fn answered(answers: &Answers, asked: usize) -> String {
    answers.0.iter().take(asked).map(|answer| if *answer { 'y' } else { 'n' }).collect()
}

fn ended_name(ended: &Ended) -> &'static str {
    match ended {
        Ended::Written(written) => match written.answer {
            Answer::Success => "s",
            Answer::NotEnoughResources => "r",
            Answer::Hardware => "h",
        },
        Ended::Done(Ok(())) => "+",
        Ended::Done(Err(_)) => "x",
    }
}

fn letter(value: &Value) -> char {
    match value {
        Value::Nothing => '.',
        Value::A => 'A',
        Value::B => 'B',
    }
}

fn letters(world: &World, reach: impl Fn(u32) -> Option<Reach>) -> String {
    let one = |page: u32| match reach(page) {
        None => '.',
        Some(RAM) => 'R',
        Some((target, perm)) => {
            let tce = target.0 | u64::from(perm.bits());
            VALUES.iter().find(|value| value.tce(page) == tce).map_or('?', letter)
        }
    };
    world.all().each().map(one).collect()
}

fn failed(seat: &Seat) -> String {
    let Some(ranges) = &seat.failure else { return String::new() };
    let ranges: Vec<String> = ranges.iter().map(|pages| format!("{}-{}", pages.first, pages.last)).collect();
    format!("!{}", ranges.join("+"))
}
