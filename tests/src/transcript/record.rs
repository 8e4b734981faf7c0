//! Fills in the replies of a transcript from a real server, so that transcripts are written from truth.
//!
//! Replies that are already there and right stay as they are, patterns included; wrong and missing ones are replaced
//! by what the server answers. Steps marked as different from this server are left alone.

use std::io;
use std::time::{Duration, Instant};

use super::expect::{Expected, Protocol};
use super::play::{Arrival, Player};
use super::{Action, Step, Transcript};
use crate::server::Launch;

/// The longest wait for a first reply, and the silence after which no more replies are expected.
const FIRST_REPLY: Duration = Duration::from_millis(700);
const NEXT_REPLY: Duration = Duration::from_millis(15);

/// The file's text with its replies, as the server started by `launch` gives them.
pub fn record(transcript: &Transcript, launch: &Launch) -> io::Result<String> {
    let resp2 = replies(transcript, launch, Protocol::Resp2)?;
    let resp3 = replies(transcript, launch, Protocol::Resp3)?;
    let mut lines = Vec::new();
    let mut copied = 0;
    for (step, (resp2, resp3)) in transcript.steps.iter().zip(resp2.into_iter().zip(resp3)) {
        let found = [resp2, resp3].into_iter().flatten().collect::<Vec<_>>();
        if found.iter().all(|found| matches!(found, Found::AsExpected)) {
            continue;
        }
        lines.extend_from_slice(&transcript.lines[copied..step.reply_lines.start]);
        lines.extend(written(&found, step.only.is_some() || transcript.head.only.is_some()));
        copied = step.reply_lines.end;
    }
    lines.extend_from_slice(&transcript.lines[copied..]);
    Ok(lines.join("\n") + "\n")
}

/// What a step's replies were in one protocol.
enum Found {
    AsExpected,
    Otherwise(Protocol, Vec<Arrival>),
}

/// Per step, unless it is not played in this protocol.
fn replies(transcript: &Transcript, launch: &Launch, protocol: Protocol) -> io::Result<Vec<Option<Found>>> {
    if !transcript.speaks(protocol) {
        return Ok(transcript.steps.iter().map(|_| None).collect());
    }
    let settings = transcript.head.settings.iter();
    let server = settings.fold(launch.clone(), |launch, (name, value)| launch.setting(name, value)).start();
    let mut player = Player::new(transcript, &server, protocol);
    let mut found = Vec::new();
    for step in &transcript.steps {
        let applies = step.only.is_none_or(|only| only == protocol);
        found.push(if applies { step_replies(&mut player, step, protocol)? } else { None });
    }
    Ok(found)
}

fn step_replies(player: &mut Player, step: &Step, protocol: Protocol) -> io::Result<Option<Found>> {
    let expected: Vec<&Expected> = step
        .replies
        .iter()
        .filter(|reply| reply.only.is_none_or(|only| only == protocol))
        .map(|reply| &reply.expected)
        .collect();
    if expected.is_empty() {
        std::thread::sleep(Duration::from_millis(step.retry_ms / 10));
    }
    let deadline = Instant::now() + Duration::from_millis(step.retry_ms);
    loop {
        let Some(name) = player.act(step)? else { return Ok(None) };
        let arrivals = arrivals(player, step, &name, &expected)?;
        let right = expected.len() == arrivals.len()
            && expected.iter().zip(&arrivals).all(|(expected, arrival)| player.accepts(expected, arrival));
        if right || player.is_excused(step) {
            return Ok(Some(Found::AsExpected));
        }
        if Instant::now() >= deadline {
            return Ok(Some(Found::Otherwise(protocol, arrivals)));
        }
    }
}

/// All replies to one command, until nothing more comes.
fn arrivals(
    player: &mut Player,
    step: &Step,
    name: &str,
    expected: &[&Expected],
) -> io::Result<Vec<Arrival>> {
    let mut arrivals = Vec::new();
    loop {
        let limit = match expected.get(arrivals.len()) {
            Some(Expected::None) => NEXT_REPLY,
            Some(_) => FIRST_REPLY,
            None if arrivals.is_empty() && !matches!(step.action, Action::Await { .. }) => FIRST_REPLY,
            None if expected.is_empty() => NEXT_REPLY,
            None => return Ok(arrivals),
        };
        let arrival =
            if step.whole_scan { player.scan_on(step, name)? } else { player.receive(name, limit)? };
        match arrival {
            Arrival::Nothing if !arrivals.is_empty() => return Ok(arrivals),
            reply @ Arrival::Reply(..) if step.whole_scan => {
                arrivals.push(reply);
                return Ok(arrivals);
            }
            reply @ Arrival::Reply(..) => arrivals.push(reply),
            end => {
                arrivals.push(end);
                return Ok(arrivals);
            }
        }
    }
}

/// One text per reply where it serves both protocols, else the replies of each, named unless there is only one.
fn written(found: &[Found], is_only: bool) -> Vec<String> {
    if let [Found::Otherwise(_, resp2), Found::Otherwise(_, resp3)] = found {
        let merged: Option<Vec<String>> =
            resp2.iter().zip(resp3).map(|(resp2, resp3)| merged(resp2, resp3)).collect();
        if let (Some(lines), true) = (merged, resp2.len() == resp3.len()) {
            return lines;
        }
    }
    let mut lines = Vec::new();
    for found in found {
        if let Found::Otherwise(protocol, arrivals) = found {
            let prefix = match protocol {
                _ if is_only => "",
                Protocol::Resp2 => "2: ",
                Protocol::Resp3 => "3: ",
            };
            lines.extend(arrivals.iter().map(|arrival| format!("{prefix}{arrival}")));
        }
    }
    lines
}

fn merged(resp2: &Arrival, resp3: &Arrival) -> Option<String> {
    match (resp2, resp3) {
        (Arrival::Nothing, Arrival::Nothing) | (Arrival::Closed, Arrival::Closed) => Some(resp2.to_string()),
        (Arrival::Reply(resp2, _), Arrival::Reply(resp3, _)) => {
            Expected::describing(resp2, resp3).map(|text| wrapped(&text))
        }
        _ => None,
    }
}

/// Long collections get a line per element.
fn wrapped(expected: &Expected) -> String {
    const LINE_CHARS: usize = 110;
    let text = expected.to_string();
    let Expected::List(list) = expected else { return text };
    if text.len() <= LINE_CHARS || list.elements.len() < 2 {
        return text;
    }
    let open = text.split('[').next().unwrap_or_default();
    let elements: Vec<String> =
        list.elements.iter().map(|element| format!("  {},", element.nested())).collect();
    format!("{open}[\n{}\n]", elements.join("\n"))
}
