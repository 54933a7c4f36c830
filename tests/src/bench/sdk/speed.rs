//! How fast a plugin is over its link: events per second, processor time per event, latency one at a time.
//!
//! All contestants run at once and are measured in turn, round by round, so that a noisy machine moves all sides.

use std::time::Duration;

use super::contestant::{self as who, Contestant, Form, Language, Options};
use super::drive::{Drive, Run, Until};
use super::link::Plugin;
use crate::bench::table::{Figure, Target};

/// Events in flight.
const WINDOW: usize = 64;

/// One line of work: a form, a size of payload, a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Work {
    form: Form,
    bytes: usize,
    window: usize,
}

impl Work {
    fn name(self) -> String {
        let Self {
            form,
            bytes,
            window,
        } = self;
        format!("{} {bytes} B w={window}", form.name())
    }
}

/// The rounds of one contestant.
struct Lane {
    contestant: Contestant,
    plugin: Plugin,
    drive: Drive,
    runs: Vec<Run>,
}

/// Measures everybody who is there.
///
/// # Errors
/// When a plugin ends or misbehaves.
pub fn run(options: &Options, contestants: &[Contestant]) -> anyhow::Result<Vec<Figure>> {
    let work = |form, bytes, window| Work {
        form,
        bytes,
        window,
    };
    let mut figures = Vec::new();
    let all = [
        work(Form::Reply, 300, WINDOW),
        work(Form::Publish, 300, WINDOW),
        work(Form::Reply, 2_048, WINDOW),
        work(Form::Publish, 2_048, WINDOW),
        work(Form::Reply, 16_384, WINDOW),
        work(Form::Publish, 16_384, WINDOW),
        work(Form::Reply, 300, 1),
        work(Form::Publish, 300, 1),
    ];
    let is_wanted = |work: &Work| {
        let only = options.work.as_deref();
        only.is_none_or(|only| work.name().contains(only))
    };
    for work in all.into_iter().filter(is_wanted) {
        let lanes = measure(options, contestants, work)?;
        report(&lanes, work, &mut figures);
        for lane in lanes {
            // A foreign one may wait for the end of its input, which comes when it is dropped.
            if !lane.contestant.is_foreign {
                lane.plugin.stop()?;
            }
        }
    }
    Ok(figures)
}

fn measure(options: &Options, contestants: &[Contestant], work: Work) -> anyhow::Result<Vec<Lane>> {
    let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { 7 });
    let (warm, time) = if options.quick {
        (Duration::from_millis(50), Duration::from_millis(100))
    } else {
        (Duration::from_millis(700), Duration::from_millis(800))
    };
    let mut lanes = Vec::new();
    for contestant in contestants {
        let mut plugin = Plugin::start(contestant, work.form)?;
        let mut drive = Drive::new(&plugin, work.form, work.bytes, work.window);
        drive.run(&mut plugin, Until::Time(warm))?;
        lanes.push(Lane {
            contestant: contestant.clone(),
            plugin,
            drive,
            runs: Vec::new(),
        });
    }
    for _ in 0..rounds {
        for lane in &mut lanes {
            let run = lane.drive.run(&mut lane.plugin, Until::Time(time))?;
            lane.runs.push(run);
        }
    }
    Ok(lanes)
}

fn values(lane: &Lane, of: impl Fn(&Run) -> f64) -> Vec<f64> {
    lane.runs.iter().map(of).collect()
}

fn report(lanes: &[Lane], work: Work, figures: &mut Vec<Figure>) {
    let (what, window) = (work.name(), work.window);
    let p99 = |run: &Run| run.quantile_us(0.99);
    for lane in lanes {
        let name = lane.contestant.name;
        let mut push = |unit: &str, of: &dyn Fn(&Run) -> f64| {
            let name = format!("{what}: {name}, {unit}");
            figures.push(Figure::new(name, None, &values(lane, of)));
        };
        if window == 1 {
            push("p50 us", &median_us);
            push("p99 us", &p99);
        } else {
            push("events/s", &Run::rate);
        }
        push("CPU us/event", &Run::cpu_us);
        if lane.contestant.is_sdk() {
            push("CPU us/event of its main thread", &Run::main_cpu_us);
        }
    }
    let own: Vec<f64> = lanes
        .iter()
        .flat_map(|lane| values(lane, Run::own_cpu_us))
        .collect();
    if !own.is_empty() {
        let name = format!("{what}: the driver itself, CPU us/event");
        figures.push(Figure::new(name, None, &own));
    }
    for ratio in ratios(work) {
        ratio.push(lanes, &what, figures);
    }
}

fn median_us(run: &Run) -> f64 {
    run.quantile_us(0.5)
}

/// One side over another.
struct Ratio {
    sdk: &'static str,
    other: &'static str,
    what: Quantity,
    target: Option<Target>,
}

#[derive(Clone, Copy)]
enum Quantity {
    Rate,
    Cpu,
    Latency,
}

impl Ratio {
    fn push(&self, lanes: &[Lane], what: &str, figures: &mut Vec<Figure>) {
        let find = |name| lanes.iter().find(|lane| lane.contestant.name == name);
        let (Some(sdk), Some(other)) = (find(self.sdk), find(self.other)) else {
            return;
        };
        let (unit, of): (&str, fn(&Run) -> f64) = match self.what {
            Quantity::Rate => ("events/s", Run::rate),
            Quantity::Cpu => ("CPU", Run::cpu_us),
            Quantity::Latency => ("p50", median_us),
        };
        let name = format!("{what}: {} / {}, {unit}", self.sdk, self.other);
        figures.push(Figure::ratio(
            name,
            self.target,
            &values(sdk, of),
            &values(other, of),
        ));
    }
}

/// What is compared, and what is aimed at.
fn ratios(work: Work) -> Vec<Ratio> {
    let mut found = Vec::new();
    for language in [Language::Python, Language::Node] {
        let (sdk, ordinary, tuned, nexo) = match language {
            Language::Python => (
                who::SDK_PYTHON,
                who::ORDINARY_PYTHON,
                who::TUNED_PYTHON,
                who::NEXO_PYTHON,
            ),
            _ => (
                who::SDK_NODE,
                who::ORDINARY_NODE,
                who::TUNED_NODE,
                who::NEXO_NODE,
            ),
        };
        let mut push = |other, what, target| {
            found.push(Ratio {
                sdk,
                other,
                what,
                target,
            });
        };
        if work.window == 1 {
            let limit = match (language, work.form) {
                (Language::Python, Form::Reply) => Some(Target::AtMost(1.0)),
                (Language::Node, Form::Reply) => Some(Target::AtMost(2.5)),
                _ => None,
            };
            push(ordinary, Quantity::Latency, limit);
            push(tuned, Quantity::Latency, None);
            push(nexo, Quantity::Latency, None);
            continue;
        }
        let [to_nexo, to_ordinary, to_tuned] = aims(language, work);
        push(nexo, Quantity::Rate, to_nexo);
        push(ordinary, Quantity::Rate, to_ordinary);
        push(tuned, Quantity::Rate, to_tuned);
        let most = if work.bytes > 4_096 { 1.1 } else { 1.0 };
        push(ordinary, Quantity::Cpu, Some(Target::AtMost(most)));
        push(tuned, Quantity::Cpu, None);
    }
    found
}

/// Aims at nexo's SDK, the ordinary and the tuned loop, in events per second.
fn aims(language: Language, work: Work) -> [Option<Target>; 3] {
    let least = |ratio| Some(Target::AtLeast(ratio));
    match (language, work.form, work.bytes) {
        (Language::Python, Form::Reply, 300) => [least(10.0), least(2.0), least(1.0)],
        (Language::Python, Form::Publish, 300) => [least(5.0), least(1.8), None],
        (Language::Node, Form::Reply, 300) => [least(1.5), None, least(1.0)],
        (Language::Node, Form::Publish, 300) => [None, None, least(1.0)],
        _ => [None; 3],
    }
}
