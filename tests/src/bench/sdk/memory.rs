//! What a plugin holds on to: a flood to a handler that is slow, and many events over a long time.
//!
//! The broker's side keeps to the credit that the plugin accepted, as the daemon does. So a flood must cost no more
//! than that window; and what a long run leaves behind is a leak.

use anyhow::ensure;

use super::contestant::{Contestant, Form, Language, Options};
use super::cost;
use super::drive::{Drive, Until};
use super::link::Plugin;
use crate::bench::table::{Figure, Target};

/// Bytes of a payload.
const BYTES: usize = 300;
/// Events in flight in the long run.
const WINDOW: usize = 64;
const MB: f64 = 1e6;

/// Floods and soaks everybody who is there and acks what it is given.
///
/// # Errors
/// When a plugin ends or misbehaves, or keeps descriptors or threads.
pub fn run(options: &Options, contestants: &[Contestant]) -> anyhow::Result<Vec<Figure>> {
    let (flood_events, soak_events) = if options.quick {
        (2_000, 20_000)
    } else {
        (20_000, 500_000)
    };
    let mut figures = Vec::new();
    let scripts = |who: &&Contestant| who.is_sdk();
    for contestant in contestants.iter().filter(scripts) {
        figures.extend(flood(contestant, flood_events)?);
    }
    for contestant in contestants.iter().filter(|who| !who.is_foreign) {
        figures.extend(soak(contestant, soak_events)?);
    }
    Ok(figures)
}

/// Everything at once to a handler that takes 10 ms.
fn flood(contestant: &Contestant, events: u64) -> anyhow::Result<Vec<Figure>> {
    let mut plugin = Plugin::start(contestant, Form::Slow)?;
    let mut few = Drive::new(&plugin, Form::Slow, BYTES, 8);
    few.run(&mut plugin, Until::Events(200))?;
    let credit = plugin.credit;
    let mut drive = Drive::new(&plugin, Form::Slow, BYTES, credit);
    cost::forget_peak(plugin.pid())?;
    let before = cost::resident_bytes(plugin.pid())?;
    drive.run(&mut plugin, Until::Events(events))?;
    let grown = cost::peak_bytes(plugin.pid())?.saturating_sub(before) as f64 / MB;
    plugin.stop()?;
    let allowed = match contestant.language {
        Language::Node => 40.0,
        _ => 10.0,
    };
    let most = drive.window_bytes() as f64 / MB + allowed;
    let name = format!("flood of {events}: {}, resident MB grown", contestant.name);
    Ok(vec![Figure::new(
        name,
        Some(Target::AtMost(most)),
        &[grown],
    )])
}

/// Many events; what is resident after each quarter.
fn soak(contestant: &Contestant, events: u64) -> anyhow::Result<Vec<Figure>> {
    let mut plugin = Plugin::start(contestant, Form::Reply)?;
    let mut drive = Drive::new(&plugin, Form::Reply, BYTES, WINDOW);
    let mut quarters = Vec::new();
    let mut held = Vec::new();
    for _ in 0..4 {
        drive.run(&mut plugin, Until::Events(events / 4))?;
        quarters.push(cost::resident_bytes(plugin.pid())? as f64 / MB);
        held.push(cost::descriptors_and_threads(plugin.pid())?);
    }
    plugin.stop()?;
    ensure!(
        held[0] == held[3],
        "{} had {:?} descriptors and threads after the first quarter, {:?} after the last",
        contestant.name,
        held[0],
        held[3]
    );
    let most = match contestant.language {
        Language::Node => 10.0,
        _ => 3.0,
    };
    let target = contestant.is_sdk().then_some(Target::AtMost(most));
    let name = contestant.name;
    let mut figures: Vec<Figure> = (1..)
        .zip(&quarters)
        .map(|(quarter, resident)| {
            let name = format!("soak of {events}: {name}, resident MB after quarter {quarter}");
            Figure::new(name, None, &[*resident])
        })
        .collect();
    figures.push(Figure::new(
        format!("soak of {events}: {name}, last quarter - first, MB"),
        target,
        &[quarters[3] - quarters[0]],
    ));
    Ok(figures)
}
