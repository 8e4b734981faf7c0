//! Work that waits for a disk, for the allocator or for another server, in a thread of its own.
//!
//! Owns the work of this shard's connections that runs outside the shard. Its end wakes the shard; a connection is
//! suspended until its work is done. For rare commands of the control plane (CONFIG REWRITE, MEMORY PURGE, MIGRATE).

use std::sync::mpsc::{Receiver, TryRecvError, channel};

use torc_resp::CommandError;
use torc_runtime::beside;

use crate::clients::ClientKey;
use crate::connection::Connection;
use crate::session::Flow;

use super::Shard;

#[derive(Default)]
pub(super) struct Aside {
    running: Vec<Running>,
}

struct Running {
    client: ClientKey,
    /// The last step, once the work is done.
    done: Receiver<LastStep>,
}

type LastStep = Box<dyn FnOnce(&mut Shard, &mut Connection) -> Result<Flow, CommandError> + Send>;

impl Shard {
    /// Run `work` in a thread of its own, then `finish` here; it writes the reply.
    pub fn run_aside<T: Send + 'static>(
        &mut self,
        connection: &mut Connection,
        work: impl FnOnce() -> T + Send + 'static,
        finish: impl FnOnce(&mut Shard, &mut Connection, T) -> Result<(), CommandError> + Send + 'static,
    ) -> Flow {
        self.run_aside_then(connection, work, move |shard, connection, result| {
            finish(shard, connection, result).map(|()| Flow::Done)
        })
    }

    /// The same for a command that goes on after that: `finish` may start something and return its `Flow::Later`.
    pub fn run_aside_then<T: Send + 'static>(
        &mut self,
        connection: &mut Connection,
        work: impl FnOnce() -> T + Send + 'static,
        finish: impl FnOnce(&mut Shard, &mut Connection, T) -> Result<Flow, CommandError> + Send + 'static,
    ) -> Flow {
        let (send, done) = channel::<LastStep>();
        let (home, server) = (self.home, self.server.clone());
        let work = move || {
            let result = work();
            // Nobody listens any more when the server is ending.
            let _ = send.send(Box::new(move |shard, connection| finish(shard, connection, result)));
            if let Some(server) = server {
                server.wake(home);
            }
        };
        beside::spawn("torc-aside", work);
        self.aside.running.push(Running { client: connection.key, done });
        Flow::Later
    }

    /// Go on where work is done.
    pub fn finish_aside(&mut self) {
        for index in (0..self.aside.running.len()).rev() {
            let last_step = match self.aside.running[index].done.try_recv() {
                Ok(last_step) => last_step,
                Err(TryRecvError::Empty) => continue,
                Err(TryRecvError::Disconnected) => unreachable!("a thread that panics ends the process"),
            };
            let client = self.aside.running.swap_remove(index).client;
            self.finish_step(client, last_step);
        }
    }
}
