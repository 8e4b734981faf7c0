//! What `deploy/` holds: every file is checked by the tool that will read it, and against a running server.
//!
//! Goal: no name in a rule, dashboard or manifest that does not exist. Method: the real validators, where they are
//! installed; the rest of the checks needs none.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use torc_tests::{
    Launch, free_port, http_get, scrape, scratch_dir, skip_or_fail, torc_binary, wait_until, workspace_root,
};

fn deploy(path: &str) -> PathBuf {
    workspace_root().join("deploy").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(deploy(path)).unwrap_or_else(|error| panic!("deploy/{path}: {error}"))
}

/// What a program prints, if it is installed; panics if it fails.
#[track_caller]
fn output_of(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    Some(text)
}

/// A Python tool of `.ci/run`, or from the path.
fn tool(name: &str) -> Command {
    let clients = std::env::var_os("TORC_CLIENTS")
        .map_or_else(|| workspace_root().join("target/ci-clients"), PathBuf::from);
    let installed = clients.join("python/bin").join(name);
    if installed.exists() { Command::new(installed) } else { Command::new(name) }
}

/// Words that look like the name of a figure.
fn metric_names(text: &str) -> BTreeSet<&str> {
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    text.split(|letter| !is_part(letter))
        .filter(|word| ["redis_", "torc_"].iter().any(|prefix| word.starts_with(prefix)))
        .collect()
}

#[test]
fn dashboard_and_alerts_name_figures_that_exist() {
    let port = free_port();
    let server = Launch::torc(2).setting("metrics-port", &port.number.to_string()).start();
    let mut client = server.client();
    client.cmd("SET k v");
    client.cmd("LPUSH k v");
    let errors = wait_until(Duration::from_secs(10), || scrape(port.number).has_name("redis_errors_total"));
    assert!(errors, "the figures do not come");
    let samples = scrape(port.number);
    let (alerts, dashboard) = (read("prometheus/alerts.yaml"), read("grafana/torc.json"));
    let expressions = alerts.lines().filter(|line| line.trim_start().starts_with("expr:"));
    let expressions: String =
        expressions.chain(dashboard.lines().filter(|line| line.contains("\"expr\""))).collect();
    let names = metric_names(&expressions);
    assert!(names.len() > 30, "the search for names is broken: {names:?}");
    let missing: Vec<&&str> = names.iter().filter(|name| !samples.has_name(name)).collect();
    assert!(missing.is_empty(), "no such figures: {missing:?}");
}

#[test]
fn the_same_alerts_are_everywhere() {
    let alerts = read("prometheus/alerts.yaml");
    assert_eq!(alerts, read("helm/torc/alerts.yaml"), "copy deploy/prometheus/alerts.yaml into the chart");
    let groups = &alerts[alerts.find("groups:").expect("there are groups")..];
    let indented: String = groups.lines().map(|line| format!("  {line}\n")).collect();
    let base = read("kustomize/base/monitoring.yaml");
    assert!(
        base.ends_with(&indented),
        "copy the groups of deploy/prometheus/alerts.yaml into monitoring.yaml"
    );
}

#[test]
fn alert_rules_do_what_they_say() {
    let folder = deploy("prometheus");
    let promtool = || {
        let mut command = Command::new("promtool");
        command.current_dir(&folder);
        command
    };
    let Some(checked) = output_of(promtool().args(["check", "rules", "alerts.yaml"])) else {
        return skip_or_fail("alert rules: promtool is not installed");
    };
    assert!(checked.contains("SUCCESS"), "{checked}");
    let tested = output_of(promtool().args(["test", "rules", "alerts_test.yaml"])).expect("it is installed");
    assert!(tested.contains("SUCCESS"), "{tested}");
    let (rules, tests) = (read("prometheus/alerts.yaml"), read("prometheus/alerts_test.yaml"));
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} has no test");
    }
}

#[test]
fn a_real_prometheus_scrapes() {
    let (metrics, web) = (free_port(), free_port());
    let _server = Launch::torc(2).setting("metrics-port", &metrics.number.to_string()).start();
    let folder = scratch_dir("prometheus");
    let config = format!(
        "global: {{scrape_interval: 1s}}\nrule_files: [{}]\nscrape_configs:\n  - job_name: torc\n    \
         static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
        deploy("prometheus/alerts.yaml").display(),
        metrics.number
    );
    fs::write(folder.join("prometheus.yml"), config).expect("the folder is writable");
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{}", web.number))
        .stderr(fs::File::create(folder.join("log")).expect("the folder is writable"))
        .spawn();
    let Ok(mut child) = child else {
        return skip_or_fail("scraping: prometheus is not installed");
    };
    let is_there = wait_until(Duration::from_secs(30), || {
        let query = "/api/v1/query?query=redis_up%20and%20on(instance)%20up";
        matches!(http_get(web.number, query), Ok((200, body)) if body.contains("\"redis_up\"") && body.contains("\"1\""))
    });
    let _ = child.kill();
    let _ = child.wait();
    assert!(is_there, "{}", fs::read_to_string(folder.join("log")).unwrap_or_default());
}

/// What Kustomize makes of a folder, if it is installed.
fn kustomize(name: &str) -> Option<String> {
    output_of(Command::new("kubectl").arg("kustomize").arg(deploy("kustomize").join(name)))
}

/// Whether manifests keep the schemas of Kubernetes could be checked.
fn keep_the_schemas(manifests: &Path) -> bool {
    output_of(tool("kubernetes-validate").arg("--strict").arg(manifests)).is_some()
}

#[test]
fn manifests_keep_the_schemas_of_kubernetes() {
    let folder = scratch_dir("kustomize");
    for name in ["base", "node"] {
        let Some(manifests) = kustomize(name) else {
            return eprintln!(
                "skipped: the manifests: kubectl is not installed, and Debian has none that is new enough"
            );
        };
        let path = folder.join(format!("{name}.yaml"));
        fs::write(&path, &manifests).expect("the folder is writable");
        if name == "base" {
            check_hardening(&manifests);
        }
        if !keep_the_schemas(&path) {
            return skip_or_fail("the schemas of manifests: kubernetes-validate is not installed");
        }
    }
}

/// Helm itself renders the chart with several sets of values; the result is valid, and what the Kustomize base is.
#[test]
fn the_chart_is_rendered_by_helm() {
    let has_helm = tool("python").args(["-c", "import helm_python, yaml"]).output();
    if !has_helm.is_ok_and(|output| output.status.success()) {
        return skip_or_fail("the chart: Helm (the Python package helm-python-sdk) is not installed");
    }
    let folder = scratch_dir("helm");
    let mut render = tool("python");
    render.arg(workspace_root().join("tests/clients/chart.py")).arg(deploy("helm/torc")).arg(&folder);
    if let Some(base) = kustomize("base") {
        let path = scratch_dir("helm-base").join("base.yaml");
        fs::write(&path, base).expect("the folder is writable");
        render.arg(path);
    }
    let said = output_of(&mut render).expect("it is installed");
    assert!(said.contains("Helm v4"), "{said}");
    let mut rendered = 0;
    for file in fs::read_dir(&folder).expect("the chart was rendered") {
        let path = file.expect("a readable entry").path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml") => assert!(keep_the_schemas(&path)),
            _ => check_configuration(&fs::read_to_string(&path).expect("a readable file"), "torc.conf"),
        }
        rendered += 1;
    }
    assert!(rendered >= 10, "the search for what was rendered is broken: {rendered}");
}

/// What the schemas cannot ask for.
fn check_hardening(manifests: &str) {
    for needed in [
        "runAsNonRoot: true",
        "readOnlyRootFilesystem: true",
        "allowPrivilegeEscalation: false",
        "- ALL",
        "type: Localhost",
        "localhostProfile: profiles/torc.json",
        "kind: PodDisruptionBudget",
        "kind: NetworkPolicy",
        "kind: ServiceMonitor",
        "kind: PrometheusRule",
        "path: /readyz",
        "path: /healthz",
    ] {
        assert!(manifests.contains(needed), "{needed} is missing");
    }
    let number = |text: &str, name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        line.and_then(|rest| rest.trim().parse().ok()).unwrap_or_else(|| panic!("{name} is missing"))
    };
    let grace_s = number(manifests, "terminationGracePeriodSeconds:");
    assert!(grace_s > number(&read("kustomize/base/torc.toml"), "shutdown-timeout ="));
    let (requests, limits) = (manifests.find("requests:"), manifests.find("limits:"));
    assert!(requests.is_some() && limits.is_some());
    assert_eq!(manifests.matches("cpu: \"2\"").count(), 2, "whole CPUs, requests = limits");
}

#[test]
fn configurations_are_right() {
    for path in ["config/torc.toml", "docker/torc.toml", "kustomize/base/torc.toml"] {
        check_configuration(&read(path), "torc.toml");
    }
}

/// The server takes this configuration, with folders that are here.
fn check_configuration(text: &str, file_name: &str) {
    let folder = scratch_dir("deploy");
    let secrets = folder.to_str().expect("a plain path");
    for name in ["password", "default", "admin"] {
        fs::write(folder.join(name), "secret\n").expect("the folder is writable");
    }
    let text =
        text.replace("/etc/torc/secret", secrets).replace("\"/data\"", "\".\"").replace("dir /data", "dir .");
    let copy = folder.join(file_name);
    fs::write(&copy, text).expect("the folder is writable");
    output_of(Command::new(torc_binary()).arg(&copy).arg("--check-config")).expect("torc is built");
}

#[test]
fn the_unit_is_verified_by_systemd() {
    let unit = read("systemd/torc.service");
    for needed in ["Type=notify", "--supervised systemd", "LimitMEMLOCK=infinity", "io_uring_setup"] {
        assert!(unit.contains(needed), "{needed} is missing");
    }
    let path = scratch_dir("systemd").join("torc.service");
    let here = unit.replace("/usr/bin/torc", torc_binary().to_str().expect("a plain path"));
    fs::write(&path, here).expect("the folder is writable");
    match output_of(Command::new("systemd-analyze").arg("verify").arg(&path)) {
        None => skip_or_fail("the unit: systemd-analyze is not installed"),
        Some(complaints) => {
            let ours: Vec<&str> = complaints.lines().filter(|line| line.contains("torc.service")).collect();
            assert_eq!(ours, [""; 0], "{complaints}");
        }
    }
}

#[test]
fn the_dockerfile_is_linted() {
    if output_of(tool("hadolint").arg(deploy("docker/Dockerfile"))).is_none() {
        skip_or_fail("the Dockerfile: hadolint is not installed");
    }
}

/// The seccomp profile lets through what the server does.
#[test]
fn the_seccomp_profile_has_all_calls() {
    let profile = read("kustomize/node/torc.json");
    let folder = scratch_dir("strace");
    let log = folder.join("calls");
    let port = free_port();
    let child = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(&log)
        .arg(torc_binary())
        .args(["--port", &port.number.to_string(), "--shards", "2", "--metrics-port", "0"])
        .args(["--appendonly", "yes", "--save", "3600 1"])
        .current_dir(&folder)
        .stdout(fs::File::create(folder.join("log")).expect("the folder is writable"))
        .spawn();
    let Ok(mut child) = child else {
        return eprintln!("skipped: the calls of the seccomp profile: strace is not installed");
    };
    let mut client = None;
    let connected = wait_until(Duration::from_secs(60), || {
        client = torc_tests::Client::connect("127.0.0.1", port.number).ok();
        client.is_some()
    });
    assert!(connected, "{}", fs::read_to_string(folder.join("log")).unwrap_or_default());
    let mut client = client.expect("it is connected");
    client.cmd("SET k v");
    client.cmd("BGSAVE");
    client.cmd("INFO everything");
    let _ = client.send(&["SHUTDOWN"]);
    let _ = child.wait();
    let calls = fs::read_to_string(&log).expect("strace writes");
    let names: BTreeSet<&str> = calls
        .lines()
        .filter_map(|line| {
            let call = line.split_once(' ')?.1.trim_start();
            let name = call.split('(').next()?;
            (call.contains('(') && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_'))
                .then_some(name)
        })
        .collect();
    assert!(names.len() > 20, "the search for calls is broken: {names:?}");
    let missing: Vec<&&str> = names.iter().filter(|name| !profile.contains(&format!("\"{name}\""))).collect();
    assert!(missing.is_empty(), "not in the profile: {missing:?}");
}
