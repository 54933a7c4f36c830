//! What is tried, in order: one process through a whole life, then one per kind of bad frame, then one whose
//! link just ends.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_contract::envelope::rfc3339;
use trunkline_contract::error::Code;
use trunkline_contract::limits::FRAME_BYTES_MAX;
use trunkline_contract::rpc::{
    Host, InitializeParams, LinkLimits, ProtocolRange, ReportedState, Secrets, method,
};

use super::bench::Bench;
use super::link::{Link, Said};
use super::report::Report;
use super::subject::{INSTANCE, Subject};
use crate::cli::failure::Failure;
use crate::clock::{Clock, SystemClock};

/// How many of its last lines are shown when it fails.
const LAST_LINES: usize = 10;
/// A method that no version of the contract will ever have.
const NO_METHOD: &str = "check.no_such_method";

/// Runs everything; what cannot be tried is skipped with the reason.
pub(super) async fn run(subject: Subject) -> Result<Report, Failure> {
    let mut scenario = Scenario {
        limit: subject.limit,
        bench: Bench::new(subject)?,
        report: Report::default(),
        clock: SystemClock::new(),
        deliveries: 0,
    };
    if scenario.life().await {
        scenario.bad_frames().await;
        scenario.end_of_link().await;
    }
    let Scenario {
        bench, mut report, ..
    } = scenario;
    if !report.is_kept() {
        let lines = bench.last_words(LAST_LINES).await;
        report.last_words = lines.into_iter().map(|line| line.line).collect();
    }
    bench.close().await;
    Ok(report)
}

struct Scenario {
    bench: Bench,
    report: Report,
    limit: Duration,
    clock: SystemClock,
    deliveries: u32,
}

impl Scenario {
    /// From the start to the exit. Says whether there is a plugin to try further things with.
    async fn life(&mut self) -> bool {
        let started = self.bench.start().await;
        let command = self.bench.subject.command.join(" ");
        let verdict = started.as_ref().map(|_| command).map_err(Clone::clone);
        self.report
            .must("start.runs", "the program can be started", verdict);
        let Ok(mut link) = started else {
            return false;
        };
        let link = &mut link;
        if !self.handshake(link).await {
            return false;
        }
        if self.bench.subject.is_foreign() {
            self.report.skip(
                "activate.answers",
                "answers instance.activate",
                "a peer of the foreign contract is active from its handshake on",
            );
        } else if !self.activation(link).await {
            return false;
        }
        self.calls(link).await;
        self.events(link).await;
        self.shutdown(link).await;
        self.language(link);
        true
    }

    fn initialize(&self) -> InitializeParams {
        let subject = &self.bench.subject;
        InitializeParams {
            protocol: ProtocolRange::ours(),
            host: Host {
                name: "trunkline".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            nexo_version: subject.is_foreign().then(|| "0.1.5".to_owned()),
            plugin: subject.id().to_owned(),
            instance: INSTANCE.to_owned(),
            config: subject.config.clone(),
            secrets: Secrets(subject.secrets.clone()),
            state_dir: Some(self.bench.state_dir().display().to_string()),
            hooks_url: None,
            features: subject.features(),
            webhooks: subject.sources(),
            limits: LinkLimits::of_frame(FRAME_BYTES_MAX),
            services: ["kv", "lock", "blob", "log"].map(str::to_owned).to_vec(),
        }
    }

    async fn handshake(&mut self, link: &mut Link) -> bool {
        let began_ms = self.clock.now().mono_ms;
        let params = self.initialize();
        let id = link.request(method::INITIALIZE, &params, self.limit).await;
        let mut said_before = Vec::new();
        let answer = match id {
            Ok(id) => {
                link.until(self.limit, |said| match said {
                    Said::Answer(found, answer) if *found == id => Some(answer.clone()),
                    Said::Call { method, .. } => {
                        said_before.push(method.clone());
                        None
                    }
                    _ => None,
                })
                .await
            }
            Err(why) => Err(why),
        };
        let took_ms = self.clock.now().mono_ms - began_ms;
        let answer = answer.and_then(|answer| answer.map_err(|error| error.to_string()));
        let is_answered = self.report.must(
            "initialize.answers",
            "answers initialize in time",
            answer
                .as_ref()
                .map(|_| format!("{took_ms} ms"))
                .map_err(Clone::clone),
        );
        let Ok(answer) = answer else { return false };
        self.report.must(
            "initialize.first",
            "says nothing before it is asked",
            if said_before.is_empty() {
                Ok(String::new())
            } else {
                Err(format!("found {}", said_before.join(", ")))
            },
        );
        self.identity(&answer);
        is_answered
    }

    fn identity(&mut self, answer: &Value) {
        let found = answer["manifest"]["plugin"]["id"].as_str();
        let text = "names the plugin of its manifest";
        match (&self.bench.subject.manifest, found) {
            (Some(manifest), Some(found)) if found == manifest.id => {
                self.report
                    .must("initialize.id", text, Ok(found.to_owned()));
            }
            (None, Some(found)) => {
                self.report.must(
                    "initialize.id",
                    text,
                    Ok(format!("{found}, without a manifest")),
                );
            }
            (Some(manifest), found) => {
                let why = format!("expected {:?}, found {found:?}", manifest.id);
                self.report.must("initialize.id", text, Err(why));
            }
            (None, None) => {
                let why = "expected manifest.plugin.id in the answer".to_owned();
                self.report.must("initialize.id", text, Err(why));
            }
        }
        let text = "speaks a version of the protocol";
        let ours = ProtocolRange::ours();
        match answer["protocol"].as_str() {
            Some(found) if ours.includes(found) => {
                self.report
                    .must("initialize.protocol", text, Ok(found.to_owned()));
            }
            Some(found) => {
                let why = format!(
                    "expected trunkline/{} to {}, found {found}",
                    ours.min, ours.max
                );
                self.report.must("initialize.protocol", text, Err(why));
            }
            None if self.bench.subject.is_foreign() => {
                let why = "a peer of the foreign contract says none";
                self.report.skip("initialize.protocol", text, why);
            }
            None => {
                let why = "expected \"protocol\": \"trunkline/1.0\", found none; without it the \
                           broker takes it for a peer of the foreign contract";
                self.report
                    .must("initialize.protocol", text, Err(why.to_owned()));
            }
        }
        let accepts = &answer["accepts"];
        let (events, bytes) = (accepts["events"].as_u64(), accepts["bytes"].as_u64());
        self.report.must(
            "initialize.accepts",
            "says how much it takes in flight",
            match (accepts.is_null(), events, bytes) {
                (true, ..) => Ok("256 events, 8 MiB by default".to_owned()),
                (_, Some(events @ 1..), Some(bytes @ 1..)) => {
                    Ok(format!("{events} events, {bytes} bytes"))
                }
                _ => Err(format!(
                    "expected events and bytes above 0, found {accepts}"
                )),
            },
        );
        self.report.skip(
            "standby.opens_nothing",
            "opens nothing outside before it is activated",
            "cannot be seen from here",
        );
    }

    async fn activation(&mut self, link: &mut Link) -> bool {
        let began_ms = self.clock.now().mono_ms;
        let (answer, status) = activate(link, self.limit).await;
        self.report.must(
            "activate.answers",
            "answers instance.activate",
            answer.map(|()| String::new()),
        );
        let took_ms = self.clock.now().mono_ms - began_ms;
        self.report.must(
            "activate.ready",
            "reports that it is ready in time",
            match status {
                Ok((ReportedState::Ready | ReportedState::Degraded, _)) => {
                    Ok(format!("{took_ms} ms"))
                }
                Ok((state, reason)) => Err(format!("found {state:?}: {reason}")),
                Err(why) => Err(why),
            },
        )
    }

    async fn calls(&mut self, link: &mut Link) {
        let pong = link.ask(method::PING, &json!({}), self.limit).await;
        let is_foreign = self.bench.subject.is_foreign();
        self.report.must(
            "ping.answers",
            "answers ping with its lag and what is in flight",
            match pong {
                Ok(Ok(result)) if result["in_flight"].is_u64() || is_foreign => Ok(String::new()),
                Ok(Ok(result)) if result.is_object() => Ok("without in_flight".to_owned()),
                Ok(Err(error)) if is_foreign => Ok(format!("a sign of life: {error}")),
                Ok(answer) => Err(format!("expected an object, found {answer:?}")),
                Err(why) => Err(why),
            },
        );
        let answer = link.ask(NO_METHOD, &json!({}), self.limit).await;
        self.report.must(
            "unknown.request",
            "refuses an unknown method and goes on",
            match answer {
                Ok(Err(error)) => Ok(error.code.as_str().to_owned()),
                Ok(Ok(result)) => Err(format!("expected an error, found the result {result}")),
                Err(why) => Err(why),
            },
        );
        let told = link.notify(NO_METHOD, &json!({"x": 1}), self.limit).await;
        let alive = match told {
            Ok(()) => alive(link, self.limit).await,
            Err(why) => Err(why),
        };
        self.report.must(
            "unknown.notification",
            "ignores an unknown notification and goes on",
            alive.map(|()| String::new()),
        );
        if is_foreign {
            return;
        }
        for (rule, text, name, params) in [
            (
                "pause.answers",
                "answers instance.pause",
                method::INSTANCE_PAUSE,
                json!({"reason": "check"}),
            ),
            (
                "resume.answers",
                "answers instance.resume",
                method::INSTANCE_RESUME,
                json!({}),
            ),
        ] {
            let answer = link.ask(name, &params, self.limit).await;
            self.report.must(rule, text, granted(answer));
        }
        let params = json!({"config": self.bench.subject.config, "secrets": self.bench.subject.secrets,
            "revision": 2});
        let answer = link.ask(method::CONFIG_UPDATE, &params, self.limit).await;
        self.report.must(
            "config.answers",
            "takes or refuses config.update",
            answer.map(|answer| match answer {
                Ok(_) => "taken".to_owned(),
                Err(error) => format!("refused: {}", error.code.as_str()),
            }),
        );
    }

    /// Parameters of a delivery.
    fn event(&mut self, topic: &str, id: &str, attempt: u32) -> (String, Value) {
        self.deliveries += 1;
        let delivery = format!("check-{}", self.deliveries);
        let now = rfc3339(self.clock.now().wall_ms);
        let params = json!({
            "topic": topic,
            "event": {"id": id, "timestamp": now, "topic": topic, "source": "client:check",
                "session_id": "check", "payload": {"text": "check"}},
            "delivery": {"id": delivery, "attempt": attempt, "redelivered": attempt > 1,
                "lease_ms": 30_000, "subscription":
                    format!("instance.{}.{INSTANCE}", self.bench.subject.id())},
        });
        (delivery, params)
    }

    async fn deliver(
        &mut self,
        link: &mut Link,
        topic: &str,
        id: &str,
        attempt: u32,
    ) -> Result<String, String> {
        let (delivery, params) = self.event(topic, id, attempt);
        link.notify(method::BROKER_EVENT, &params, self.limit)
            .await?;
        let how = link.settlement(&delivery, self.limit).await?;
        Ok(how.to_owned())
    }

    async fn events(&mut self, link: &mut Link) {
        let rules = [
            ("delivery.settles", "settles a delivery"),
            ("delivery.again", "settles a redelivery of the same event"),
            (
                "delivery.same_ids",
                "publishes the same ids when an event is handled again",
            ),
            ("delivery.once", "settles each delivery once"),
            ("delivery.grants", "publishes only where it may"),
            ("gap.settles", "acks a gap"),
        ];
        let why = if self.bench.subject.is_foreign() {
            Some("a peer of the foreign contract settles nothing")
        } else if self.bench.subject.topic().is_none() {
            Some("it has no channel and subscribes to nothing")
        } else {
            None
        };
        let topic = match (why, self.bench.subject.topic()) {
            (None, Some(topic)) => topic,
            (why, _) => {
                for (rule, text) in rules {
                    self.report.skip(rule, text, why.unwrap_or_default());
                }
                return;
            }
        };
        let [settles, again, same_ids, once, grants, gap] = rules;
        let id = "01890000-0000-7000-8000-000000000001";
        let first = self.deliver(link, &topic, id, 1).await;
        let before: Vec<_> = link.published.clone();
        let is_settled = self.report.must(settles.0, settles.1, first);
        let second = self.deliver(link, &topic, id, 2).await;
        self.report.must(again.0, again.1, second);
        let after = &link.published[before.len()..];
        match (is_settled, before.is_empty()) {
            (true, false) => {
                let kept = before == after && before.iter().all(|(_, id)| id.is_some());
                let verdict =
                    if kept {
                        Ok(format!("{} events", before.len()))
                    } else {
                        Err("the repeat would be a second event; derive ids from the event that is \
                         handled"
                        .to_owned())
                    };
                self.report.should(same_ids.0, same_ids.1, verdict);
            }
            _ => self
                .report
                .skip(same_ids.0, same_ids.1, "it published nothing"),
        }
        let twice = link.settled.values().filter(|how| how.len() > 1).count();
        let verdict = match twice {
            0 => Ok(String::new()),
            n => Err(format!("{n} deliveries were settled more than once")),
        };
        self.report.must(once.0, once.1, verdict);
        let stray = link
            .published
            .iter()
            .find(|(topic, _)| !self.bench.subject.may_publish(topic));
        let verdict = match stray {
            None => Ok(String::new()),
            Some((topic, _)) => Err(format!("found {topic}, for which it has no grant")),
        };
        self.report.must(grants.0, grants.1, verdict);
        let params = json!({"subscription": format!("instance.{}.{INSTANCE}", self.bench.subject.id()),
            "from": 1, "to": 9, "count": 3, "delivery": {"id": "check-gap"}});
        let told = link.notify(method::BROKER_GAP, &params, self.limit).await;
        let verdict = match told {
            Ok(()) => link.settlement("check-gap", self.limit).await,
            Err(why) => Err(why),
        };
        self.report.must(gap.0, gap.1, verdict.map(str::to_owned));
    }

    async fn shutdown(&mut self, link: &mut Link) {
        let in_flight = (
            "shutdown.in_flight",
            "finishes or naks what runs before it answers",
        );
        let topic = self
            .bench
            .subject
            .topic()
            .filter(|_| !self.bench.subject.is_foreign());
        let mut open = None;
        if let Some(topic) = topic {
            let (delivery, params) = self.event(&topic, "01890000-0000-7000-8000-000000000002", 1);
            if link
                .notify(method::BROKER_EVENT, &params, self.limit)
                .await
                .is_ok()
            {
                open = Some(delivery);
            }
        }
        let params = json!({"reason": "check", "timeout_ms": self.limit.as_millis() as u64});
        let answer = link.ask(method::SHUTDOWN, &params, self.limit).await;
        match open {
            Some(delivery) => {
                let how = link.settled.get(&delivery).and_then(|how| how.first());
                let verdict = match how {
                    Some(how) => Ok((*how).to_owned()),
                    None => Err("it left a delivery open".to_owned()),
                };
                self.report.must(in_flight.0, in_flight.1, verdict);
            }
            None => self
                .report
                .skip(in_flight.0, in_flight.1, "nothing could be delivered"),
        }
        self.report
            .must("shutdown.answers", "answers shutdown", granted(answer));
        let began_ms = self.clock.now().mono_ms;
        let exit = self.bench.exit(self.limit).await;
        let took_ms = self.clock.now().mono_ms - began_ms;
        self.report.must(
            "shutdown.exits",
            "exits with status 0 in time",
            match exit {
                Some(exit) if exit.is_clean() => Ok(format!("{took_ms} ms")),
                Some(exit) => Err(exit.to_string()),
                None => Err("it still runs".to_owned()),
            },
        );
    }

    /// What can be said of everything it wrote.
    fn language(&mut self, link: &Link) {
        let verdict = match link.faults.first() {
            None => Ok(String::new()),
            Some(first) => Err(format!(
                "{} bad frames, the first: {first}",
                link.faults.len()
            )),
        };
        self.report.must(
            "frames.good",
            "writes nothing but good frames to its link",
            verdict,
        );
        let verdict = if link.unknown.is_empty() {
            Ok(String::new())
        } else {
            Err(format!("found {}", link.unknown.join(", ")))
        };
        self.report
            .should("methods.known", "uses the contract's methods", verdict);
    }

    /// A process that is ready, for one more try.
    async fn ready(&mut self) -> Result<Link, String> {
        let mut link = self.bench.start().await?;
        let params = self.initialize();
        link.ask(method::INITIALIZE, &params, self.limit)
            .await?
            .map_err(|error| error.to_string())?;
        if !self.bench.subject.is_foreign() {
            let (answer, status) = activate(&mut link, self.limit).await;
            answer?;
            status?;
        }
        Ok(link)
    }

    async fn bad_frames(&mut self) {
        let oversized = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"{NO_METHOD}\",\"params\":{{\"x\":\"{}\"}}}}\n",
            "x".repeat(FRAME_BYTES_MAX + 1)
        );
        let tries: [(&'static str, &'static str, &[u8], bool); 6] = [
            ("frames.empty", "skips an empty line", b"\n\r\n", false),
            (
                "frames.crlf",
                "reads a frame that ends in CR LF",
                b"{\"jsonrpc\":\"2.0\",\"method\":\"check.no_such_method\"}\r\n",
                false,
            ),
            (
                "frames.not_json",
                "survives a line that is no JSON",
                b"{\"jsonrpc\":\n",
                true,
            ),
            (
                "frames.not_utf8",
                "survives bytes that are no UTF-8",
                b"{\"x\":\"\xff\"}\n",
                true,
            ),
            (
                "frames.no_request",
                "survives an answer to a request that it never made",
                b"{\"jsonrpc\":\"2.0\",\"id\":999999,\"result\":{}}\n",
                false,
            ),
            (
                "frames.too_large",
                "survives a frame over the limit",
                oversized.as_bytes(),
                true,
            ),
        ];
        let mut link = self.ready().await;
        let mut answered = 0;
        let mut expected = 0;
        for (rule, text, bytes, wants_answer) in tries {
            if link.is_err() {
                link = self.ready().await;
            }
            let verdict = match &mut link {
                Err(why) => Err(format!("no process to try it with: {why}")),
                Ok(link) => match link.write(bytes, self.limit).await {
                    Ok(()) => {
                        let (verdict, complaints) = survives(link, self.limit).await;
                        if wants_answer {
                            expected += 1;
                            answered += u32::from(complaints > 0);
                        }
                        verdict
                    }
                    Err(why) => Err(why),
                },
            };
            if !self
                .report
                .must(rule, text, verdict.map(|()| String::new()))
            {
                link = Err("it did not survive the one before".to_owned());
            }
        }
        let verdict = if answered == expected {
            Ok(String::new())
        } else {
            Err(format!("{answered} of {expected} were answered"))
        };
        self.report.should(
            "frames.complains",
            "answers a bad frame with an error and id null",
            verdict,
        );
    }

    async fn end_of_link(&mut self) {
        let verdict = match self.ready().await {
            Err(why) => Err(format!("no process to try it with: {why}")),
            Ok(mut link) => {
                link.close();
                let began_ms = self.clock.now().mono_ms;
                match self.bench.exit(self.limit).await {
                    Some(_) => Ok(format!("{} ms", self.clock.now().mono_ms - began_ms)),
                    None => Err("it still runs; nobody would ever end it".to_owned()),
                }
            }
        };
        self.report
            .must("link.ends", "ends when its link ends", verdict);
    }
}

/// What an instance said of itself, and why.
type Reported = Result<(ReportedState, String), String>;

/// Activates; gives the answer and the first status, whichever comes first.
async fn activate(link: &mut Link, limit: Duration) -> (Result<(), String>, Reported) {
    let id = match link
        .request(method::INSTANCE_ACTIVATE, &json!({"generation": 1}), limit)
        .await
    {
        Ok(id) => id,
        Err(why) => return (Err(why.clone()), Err(why)),
    };
    let (mut answer, mut status) = (None, None);
    loop {
        let step = link
            .until(limit, |said| match said {
                Said::Answer(found, result) if *found == id => {
                    answer = Some(result.clone());
                    Some(())
                }
                Said::Call { method, params } if method == method::INSTANCE_STATUS => {
                    status = Some(params.clone());
                    Some(())
                }
                // Its time begins anew.
                Said::Call { method, .. } if method == method::INSTANCE_PROGRESS => Some(()),
                _ => None,
            })
            .await;
        if step.is_err() || (answer.is_some() && status.is_some()) {
            let why = step.err().unwrap_or_default();
            let answer = match answer {
                Some(Ok(_)) => Ok(()),
                Some(Err(error)) => Err(error.to_string()),
                None => Err(why.clone()),
            };
            let status = match status {
                Some(params) => serde_json::from_value(params["state"].clone())
                    .map(|state| {
                        let reason = params["reason"].as_str().unwrap_or_default();
                        (state, reason.to_owned())
                    })
                    .map_err(|error| format!("instance.status: {error}")),
                None => Err(why),
            };
            return (answer, status);
        }
    }
}

fn granted(
    answer: Result<Result<Value, trunkline_contract::error::Error>, String>,
) -> Result<String, String> {
    match answer {
        Ok(Ok(_)) => Ok(String::new()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(why) => Err(why),
    }
}

async fn alive(link: &mut Link, limit: Duration) -> Result<(), String> {
    survives(link, limit).await.0
}

/// Pings; gives also how many complaints came meanwhile.
async fn survives(link: &mut Link, limit: Duration) -> (Result<(), String>, u32) {
    let id = match link.request(method::PING, &json!({}), limit).await {
        Ok(id) => id,
        Err(why) => return (Err(why), 0),
    };
    let mut complaints = 0;
    let answer = link
        .until(limit, |said| match said {
            Said::Answer(found, _) if *found == id => Some(()),
            Said::Complaint(error) => {
                let is_right = matches!(error.code, Code::InvalidFrame | Code::FrameTooLarge);
                complaints += u32::from(is_right);
                None
            }
            _ => None,
        })
        .await;
    (answer, complaints)
}
