//! How long a plugin takes from the start of its process to ready, and what it holds when it has nothing to do.

use super::contestant::{Contestant, Form, Language, Options};
use super::cost;
use super::link::Plugin;
use crate::bench::table::{Figure, Target};

/// Measures everybody who is there.
///
/// # Errors
/// When a plugin does not get ready.
pub fn run(options: &Options, contestants: &[Contestant]) -> anyhow::Result<Vec<Figure>> {
    let usual = if options.quick { 2 } else { 20 };
    let rounds = options.rounds.unwrap_or(usual);
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); contestants.len()];
    let mut resident: Vec<Vec<f64>> = times.clone();
    // The first start reads the programs from the disk.
    for contestant in contestants {
        Plugin::start(contestant, Form::Reply)?;
    }
    for _ in 0..rounds {
        for (index, contestant) in contestants.iter().enumerate() {
            let mut plugin = Plugin::start(contestant, Form::Reply)?;
            times[index].push(plugin.start.as_secs_f64() * 1e3);
            // What still ran behind the readiness is done when a ping is answered.
            plugin.ping()?;
            resident[index].push(cost::resident_bytes(plugin.pid())? as f64 / 1e6);
        }
    }
    let mut figures = Vec::new();
    for (index, contestant) in contestants.iter().enumerate() {
        let (ms, mb) = match contestant.language {
            Language::Python if contestant.is_sdk() => (Some(100.0), Some(26.0)),
            Language::Node if contestant.is_sdk() => (Some(130.0), Some(56.0)),
            _ => (None, None),
        };
        let name = contestant.name;
        figures.push(Figure::new(
            format!("cold start to ready: {name}, ms"),
            ms.map(Target::AtMost),
            &times[index],
        ));
        figures.push(Figure::new(
            format!("idle: {name}, resident MB"),
            mb.map(Target::AtMost),
            &resident[index],
        ));
    }
    Ok(figures)
}
