//! Figures for Prometheus and the state of the server for probes, by HTTP on a port of their own.
//!
//! Owns the listeners, their threads and the answers. Every shard lays a copy of its figures on the [`Board`] ten times a
//! second ([`board`]); a scrape reads only those ([`page`]), so it never reaches into a shard and sends it nothing.

mod board;
mod events;
mod host;
mod http;
mod page;
mod process;
mod shards;

use std::fmt;
use std::sync::{Arc, Mutex};

use metrics_exporter_prometheus::PrometheusHandle;
use torc_runtime::listen::{ListenError, listen_aside};

use crate::config::Config;
use crate::memory;
use crate::process::{Phase, ProcessInfo};

pub use board::{Board, LoopGauges, Snapshot};
pub use events::Failure;
use http::{Answer, Body, Response};

use page::Page;

/// Open the port and serve it from threads of its own. That the port is taken is an error only if the user chose it.
pub fn start(config: &Config, process: &Arc<ProcessInfo>) -> Result<(), StartError> {
    let Some((port, is_chosen)) = config.metrics_port() else { return Ok(()) };
    let events = events::record();
    for bind in config.metrics_bind() {
        let (address, is_optional) = match bind.strip_prefix('-') {
            Some(address) => (address, true),
            None => (bind.as_str(), false),
        };
        match listen_aside(address, port, is_chosen) {
            Ok(listener) => {
                let (process, events) = (Arc::clone(process), events.clone());
                http::serve(listener, Exporter { process, events, spare: Mutex::default() })
                    .map_err(|error| StartError(format!("cannot start the thread of metrics: {error}")))?;
            }
            Err(error) if is_optional && error.is_unavailable() => {}
            Err(error) if is_chosen => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "no metrics at this address"),
        }
    }
    Ok(())
}

/// Why metrics cannot be served.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

impl From<ListenError> for StartError {
    fn from(error: ListenError) -> StartError {
        StartError(format!("metrics-port: {error}"))
    }
}

/// Answers for one listener.
struct Exporter {
    process: Arc<ProcessInfo>,
    events: PrometheusHandle,
    /// Memory of the last page, for the next one.
    spare: Mutex<String>,
}

impl Answer for Exporter {
    fn answer(&self, path: &str) -> Response {
        match path {
            "/metrics" => Response::page(200, self.render()),
            "/healthz" => Response::text(200, "ok\n"),
            "/readyz" => match self.process.phase.get() {
                Phase::Ready => Response::text(200, "ready\n"),
                Phase::Loading => Response::text(503, "loading\n"),
                Phase::Stopping => Response::text(503, "stopping\n"),
            },
            "/" => Response::text(200, "torc: /metrics /healthz /readyz\n"),
            _ => Response::text(404, "not found\n"),
        }
    }

    fn sent(&self, body: Body) {
        if let Body::Page(page) = body {
            *self.spare.lock().expect("no holder panics") = page;
        }
    }
}

impl Exporter {
    /// All figures, in the text format of Prometheus.
    fn render(&self) -> String {
        let mut page = Page::new(std::mem::take(&mut *self.spare.lock().expect("no holder panics")));
        let bytes = memory::process_bytes();
        self.process.board.read(|snapshots| {
            process::write(&mut page, &self.process, &bytes, snapshots);
            shards::write(&mut page, snapshots);
        });
        host::write(&mut page, &self.process, &bytes);
        page.append(&self.events.render());
        page.into_text()
    }
}
