//! From received bytes to requests.
//!
//! Owns the walk over a connection's input: parsing in place, keeping what is incomplete, stopping at the bound of
//! commands per turn and while the connection is suspended. Never decides what a request means (see `dispatch`).

use std::ops::Range;

use torc_resp::{Parsed, ProtocolError, Reply, RequestParser};

use crate::clients::ClientKey;
use crate::connection::{Connection, REPLIES_IN_FLIGHT_MAX, Suspension};

use super::lookahead::{Lookahead, Planned};
use super::{COMMANDS_PER_TURN_MAX, LoopRequest, Shard};

/// Unparsed input of one connection at which the loop stops reading from its socket; reading goes on below half of
/// it. Requests that are longer than this are received nevertheless, because an incomplete request keeps reading on.
const READ_AHEAD_BYTES_MAX: usize = 256 * 1024;

/// Input memory that an idle connection keeps.
const IDLE_INPUT_BYTES_MAX: usize = 16 * 1024;

impl Shard {
    /// Bytes from a client.
    pub fn received(&mut self, key: ClientKey, chunk: &[u8]) {
        let Some(mut connection) = self.clients.take(key) else { return };
        connection.last_interaction_ms = self.now.unix_ms;
        connection.traffic.input_bytes += chunk.len() as u64;
        self.stats.net_input_bytes += chunk.len() as u64;
        self.stats.reads += 1;
        self.lend_log_buffer();
        self.process_received(&mut connection, chunk);
        self.run_loopback_and_put_back(connection);
    }

    /// Go on with a connection that was suspended or had used up its turn.
    pub(super) fn resume(&mut self, key: ClientKey) {
        let Some(mut connection) = self.clients.take(key) else { return };
        connection.flags.run_queued = false;
        if connection.suspension == Suspension::None {
            self.lend_log_buffer();
            self.process_input(&mut connection);
        }
        self.run_loopback_and_put_back(connection);
    }

    fn run_loopback_and_put_back(&mut self, mut connection: Box<Connection>) {
        self.bound_reading(&mut connection);
        if connection.is_finished() {
            self.close(&mut connection);
        }
        self.put_back_or_end(connection);
        if !self.loopback.is_empty() {
            self.run_loopback();
        }
    }

    fn process_received(&mut self, connection: &mut Connection, mut chunk: &[u8]) {
        if connection.flags.close_after_reply || connection.flags.closing {
            return;
        }
        if connection.parser.filling() {
            let taken = connection.parser.fill(chunk);
            chunk = &chunk[taken..];
            if connection.parser.filling() {
                return;
            }
        }
        let is_behind = !connection.input.is_empty() || connection.held.is_some();
        if !is_behind && connection.suspension == Suspension::None {
            // A request that ended with a blob starts in `input`; an empty `input` means that the chunk starts one.
            let leftover = self.process(connection, chunk);
            connection.input.extend_from_slice(&chunk[leftover]);
        } else {
            connection.input.extend_from_slice(chunk);
            if connection.suspension == Suspension::None {
                self.process_input(connection);
            }
        }
    }

    /// Process what the connection has buffered, starting with a held request.
    fn process_input(&mut self, connection: &mut Connection) {
        if connection.flags.close_after_reply || connection.flags.closing {
            connection.input = Vec::new();
            connection.input_start = 0;
            return;
        }
        if let Some(held) = connection.held.take() {
            self.run_held(connection, held);
            if connection.suspension != Suspension::None || connection.flags.close_after_reply {
                return;
            }
        }
        if connection.input.is_empty() {
            return;
        }
        let mut input = std::mem::take(&mut connection.input);
        let start = std::mem::take(&mut connection.input_start);
        let leftover = self.process(connection, &input[start..]);
        let (from, to) = (start + leftover.start, start + leftover.end);
        input.truncate(to);
        if from == to {
            input.clear();
            if input.capacity() > IDLE_INPUT_BYTES_MAX {
                input = Vec::new();
            }
        } else if from > input.len() / 2 {
            input.drain(..from);
        } else {
            connection.input_start = from;
        }
        connection.input = input;
    }

    /// Parse and run the requests in `buffer`. Returns the range of bytes that must be kept for later.
    fn process(&mut self, connection: &mut Connection, buffer: &[u8]) -> Range<usize> {
        if connection.parser.filling() {
            return 0..buffer.len();
        }
        let mut parser = std::mem::take(&mut connection.parser);
        let mut start = 0;
        let mut end = buffer.len();
        let mut commands_left = COMMANDS_PER_TURN_MAX;
        let mut lookahead = std::mem::take(&mut self.lookahead);
        lookahead.clear();
        self.pipeline_time.start();
        while start < end {
            if commands_left == 0 || connection.output.outstanding() >= REPLIES_IN_FLIGHT_MAX {
                // With replies outstanding, their arrival makes the connection runnable again.
                if commands_left == 0 {
                    self.queue_run(connection);
                } else {
                    connection.suspension = Suspension::Replies;
                }
                break;
            }
            if let Some(planned) = self.plan(connection, &parser, &mut lookahead, &buffer[start..end]) {
                commands_left -= 1;
                let args = lookahead.args(planned, &buffer[start..end]);
                self.key_hint = planned.key;
                match planned.command {
                    Some(command) => self.dispatch_command(connection, command, args),
                    None => self.dispatch(connection, args),
                }
                self.key_hint = None;
                if self.state.is_large_request(planned.len) {
                    self.note_large_request(connection, planned.len, args);
                }
                start += planned.len;
                if connection.flags.close_after_reply || connection.flags.closing {
                    start = end;
                } else if connection.suspension != Suspension::None {
                    break;
                }
                continue;
            }
            self.pipeline_time.interrupt();
            match parser.parse(&buffer[start..end]) {
                Ok(Parsed::Request { consumed }) => {
                    commands_left -= 1;
                    let args = parser.args(&buffer[start..end]);
                    self.dispatch(connection, args);
                    let bytes =
                        if parser.holds_blobs() { consumed.max(args.total_bytes()) } else { consumed };
                    if self.state.is_large_request(bytes) {
                        self.note_large_request(connection, bytes, args);
                    }
                    start += consumed;
                    // Handed-over arguments live where they were handed, and the place of many small ones is not needed until
                    // the next request that is not looked at ahead.
                    parser.reset();
                    if connection.flags.close_after_reply || connection.flags.closing {
                        start = end;
                    } else if connection.suspension != Suspension::None {
                        break;
                    } else if connection.flags.authenticated != parser.limits().authenticated {
                        parser.set_limits(self.parser_limits(connection.flags.authenticated));
                    }
                }
                Ok(Parsed::Empty { consumed }) => start += consumed,
                Ok(Parsed::NeedMore) => break,
                Ok(Parsed::NeedBlob { keep }) => {
                    end = start + keep;
                    break;
                }
                Err(error) => {
                    self.protocol_error(connection, error);
                    start = end;
                }
            }
        }
        self.pipeline_time.stop();
        connection.parser = parser;
        self.lookahead = lookahead;
        start..end
    }

    /// The next request, from what was parsed ahead. While a request is half received, or the client has not
    /// authenticated yet (its limits would change under way), the connection's own parser does it alone.
    #[inline]
    fn plan(
        &mut self,
        connection: &Connection,
        parser: &RequestParser,
        lookahead: &mut Lookahead,
        input: &[u8],
    ) -> Option<Planned> {
        if let Some(planned) = lookahead.next() {
            return Some(planned);
        }
        if parser.is_mid_request() || !connection.flags.authenticated {
            return None;
        }
        self.pipeline_time.interrupt();
        self.look_ahead(lookahead, connection.db, parser.limits(), input);
        lookahead.next()
    }

    fn protocol_error(&mut self, connection: &mut Connection, error: ProtocolError) {
        if error == ProtocolError::BigRequest {
            return self.close_for_input(connection);
        }
        self.stats.count_error("ERR");
        let proto = connection.proto;
        connection.output.write(|out| Reply::new(out, proto).error_text(&format!("ERR {error}")));
        connection.flags.close_after_reply = true;
        self.queue_flush(connection);
    }

    /// `client-query-buffer-limit` is passed: close without a reply, as Redis does.
    #[cold]
    fn close_for_input(&mut self, connection: &mut Connection) {
        if !connection.flags.closing {
            self.stats.query_buffer_limit_disconnections += 1;
            tracing::warn!(client = connection.info.address, "closed: its query buffer reached the limit");
            self.close(connection);
        }
    }

    /// The query buffer limit, and back-pressure: stop reading from a client whose requests cannot be run as fast as
    /// they come.
    fn bound_reading(&mut self, connection: &mut Connection) {
        let in_parser =
            if connection.parser.is_mid_request() { connection.parser.buffered_bytes() } else { 0 };
        let queued = connection.multi.as_ref().map_or(0, |multi| multi.queued_bytes);
        if connection.unparsed() + in_parser + queued > self.state.query_buffer_bytes_max() {
            return self.close_for_input(connection);
        }
        let suspended = connection.suspension != Suspension::None || connection.flags.run_queued;
        let unparsed = connection.unparsed();
        if !connection.flags.reading_paused && suspended && unparsed > READ_AHEAD_BYTES_MAX {
            connection.flags.reading_paused = true;
            self.request(LoopRequest::PauseReading(connection.key));
        } else if connection.flags.reading_paused && unparsed <= READ_AHEAD_BYTES_MAX / 2 {
            connection.flags.reading_paused = false;
            self.request(LoopRequest::ResumeReading(connection.key));
        }
    }
}
