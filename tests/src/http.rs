//! HTTP as far as metrics and probes need it, and the samples of a page of metrics.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::client::PATIENCE;

/// Status and body of a GET on this host.
pub fn http_get(port: u16, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let (head, body) = reply.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("no end of the head"))?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Ok((status.ok_or_else(|| io::Error::other("no status"))?, body.to_owned()))
}

/// Samples of a page of metrics by name and labels, as written.
pub struct Samples {
    pub page: String,
    samples: BTreeMap<String, f64>,
}

/// A server's metrics; panics if there are none.
#[track_caller]
pub fn scrape(port: u16) -> Samples {
    let (status, page) = http_get(port, "/metrics").expect("metrics are served");
    assert_eq!(status, 200, "{page}");
    Samples::parse(page)
}

impl Samples {
    fn parse(page: String) -> Samples {
        let mut samples = BTreeMap::new();
        for line in page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("a sample: {line}"));
            let value = value.parse().unwrap_or_else(|_| panic!("a number: {line}"));
            assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {series}");
        }
        Samples { page, samples }
    }

    /// One series, `name` or `name{label="value"}`.
    pub fn get(&self, series: &str) -> Option<f64> {
        self.samples.get(series).copied()
    }

    /// Is there a series with this name, whatever its labels?
    pub fn has_name(&self, name: &str) -> bool {
        self.named(name).next().is_some()
    }

    /// All series with this name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let is_named = move |series: &str| {
            series.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        };
        self.samples
            .iter()
            .map(|(series, value)| (series.as_str(), *value))
            .filter(move |(series, _)| is_named(series))
    }

    /// The sum of all series with this name.
    pub fn sum(&self, name: &str) -> f64 {
        self.named(name).map(|(_, value)| value).sum()
    }
}
