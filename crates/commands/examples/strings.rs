//! Measures handlers without sockets and parsing: nanoseconds of CPU and allocations per command, keys drawn at random.
//! `cargo run --release -p torc-commands --example strings -- [keys] [commands per row] [prefetch depth] [row]`

use std::time::Duration;

use torc_commands::families::FAMILIES;
use torc_commands::{Context, DataSettings, Handler, Rng, Run, SlotMap, Waiting};
use torc_keyspace::{Changes, Keyspace};
use torc_resp::{Args, OwnedArgs, Proto, Reply, ReplyBuf};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const NOW_MS: i64 = 1_700_000_000_000;
/// Replies are thrown away when this much has come together.
const REPLY_BYTES: usize = 8 * 1024;

/// What a handler sees.
struct Shard {
    keyspace: Keyspace,
    changes: Changes,
    rng: Rng,
    settings: DataSettings,
    slots: SlotMap,
}

impl Shard {
    fn context(&mut self) -> Context<'_> {
        Context {
            keyspace: &mut self.keyspace,
            db: 0,
            now_ms: NOW_MS,
            rng: &mut self.rng,
            settings: &self.settings,
            changes: &mut self.changes,
            slots: &self.slots,
            shard: 0,
            no_touch: false,
            key_hint: None,
            waiting: Waiting::Denied,
            others: &mut [],
        }
    }
}

/// Requests of one kind behind one another in memory, as a batch holds them.
struct Requests {
    handler: Handler,
    args: OwnedArgs,
    words: usize,
    count: usize,
}

impl Requests {
    /// `{}` in a word stands for a key; each is drawn anew.
    fn new(line: &str, count: usize, keys: u64, rng: &mut Rng) -> Requests {
        let template: Vec<&str> = line.split(' ').collect();
        let mut args = OwnedArgs::new();
        let mut name = Vec::new();
        for word in template.iter().cycle().take(count * template.len()) {
            match word.split_once("{}") {
                None => args.push(word.as_bytes()),
                Some((prefix, _)) => {
                    name.clear();
                    name.extend_from_slice(prefix.as_bytes());
                    write_key(&mut name, rng.below(keys));
                    args.push(&name);
                }
            }
        }
        Requests { handler: handler(template[0]), args, words: template.len(), count }
    }

    fn get(&self, index: usize) -> Args<'_> {
        self.args.as_args().range(index * self.words..(index + 1) * self.words)
    }
}

/// `key:` and 14 digits: 18 bytes, as memtier and redis-benchmark make them.
fn write_key(name: &mut Vec<u8>, id: u64) {
    name.extend_from_slice(b"key:");
    let mut unit = 10u64.pow(13);
    while unit > 0 {
        name.push(b'0' + (id / unit % 10) as u8);
        unit /= 10;
    }
}

fn handler(name: &str) -> Handler {
    let command = FAMILIES.iter().copied().flatten().find(|command| command.spec.name == name);
    match command.expect("the command exists").run {
        Run::OnShard(handler) | Run::Split { handler, .. } => handler,
        _ => panic!("{name} has no handler of its own"),
    }
}

/// Time that this thread has spent on a CPU.
fn cpu_time() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let on_cpu = schedstat.split_ascii_whitespace().next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(on_cpu.expect("nanoseconds"))
}

fn allocated_bytes() -> u64 {
    tikv_jemalloc_ctl::thread::allocatedp::read().expect("jemalloc counts per thread").get()
}

fn run(shard: &mut Shard, requests: &Requests, depth: usize, keyed: bool) -> (Duration, u64) {
    let mut out = ReplyBuf::new();
    let (start, allocated) = (cpu_time(), allocated_bytes());
    let mut first = 0;
    while first < requests.count {
        let batch = first..(first + depth).min(requests.count);
        if keyed && depth > 1 {
            for step in [Keyspace::prefetch_line, Keyspace::prefetch_entry] {
                for index in batch.clone() {
                    let key = shard.keyspace.key(requests.get(index).get(1));
                    step(&shard.keyspace, 0, &key);
                }
            }
        }
        for index in batch.clone() {
            let mut reply = Reply::new(&mut out, Proto::Resp2);
            (requests.handler)(&mut shard.context(), requests.get(index), &mut reply)
                .expect("the command succeeds");
        }
        if out.len() > REPLY_BYTES {
            out.clear();
        }
        first = batch.end;
    }
    (cpu_time() - start, allocated_bytes() - allocated)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (keys, count, depth) = (number(1_000_000), number(2_000_000) as usize, number(16) as usize);
    let wanted = arguments.next().unwrap_or_default();
    let mut shard = Shard {
        keyspace: Keyspace::new(42, 16),
        changes: Changes::default(),
        rng: Rng::new(1),
        settings: DataSettings::default(),
        slots: SlotMap::even(1),
    };
    let mut rng = Rng::new(7);
    let value = "x".repeat(64);
    for id in 0..keys {
        let words = ["set", &format!("key:{id:014}"), &value];
        let request: OwnedArgs = words.iter().map(|word| word.as_bytes()).collect();
        let mut out = ReplyBuf::new();
        handler("set")(&mut shard.context(), request.as_args(), &mut Reply::new(&mut out, Proto::Resp2))
            .expect("SET succeeds");
    }
    let ten = |word: &str| [word; 10].join(" ");
    let rows = [
        ("GET hit", "get {}".to_owned()),
        ("GET miss", "get no{}".to_owned()),
        ("SET overwrite, 64 bytes", format!("set {{}} {value}")),
        ("SET overwrite, XX EX 100", format!("set {{}} {value} xx ex 100")),
        ("SETRANGE 10", "setrange {} 10 abc".to_owned()),
        ("STRLEN", "strlen {}".to_owned()),
        ("MGET of 10", format!("mget {}", ten("{}"))),
        ("MSET of 10", format!("mset {}", ten(&format!("{{}} {value}")))),
        ("INCR", "incr n{}".to_owned()),
    ];
    println!("{:<32} {:>10} {:>14} {:>16}", "", "ns", "ns prefetched", "bytes allocated");
    for (name, line) in rows.iter().filter(|(name, _)| name.contains(&wanted)) {
        let is_multi = line.starts_with('m');
        let count = if is_multi { count / 10 } else { count };
        let requests = Requests::new(line, count, keys, &mut rng);
        // The first run is for the counters, which are not there yet.
        run(&mut shard, &requests, 1, false);
        let (plain, allocated) = run(&mut shard, &requests, 1, false);
        let (prefetched, _) = run(&mut shard, &requests, depth, !is_multi);
        let per = |took: Duration| took.as_nanos() as f64 / count as f64;
        let bytes = allocated as f64 / count as f64;
        println!("{name:<32} {:>10.1} {:>14.1} {bytes:>16.2}", per(plain), per(prefetched));
    }
}
