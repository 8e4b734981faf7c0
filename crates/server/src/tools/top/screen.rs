//! The terminal of `torc top`: a screen of its own that is given back as it was, keys, and its size.
//!
//! Never knows what is shown.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use crossterm::terminal::{
    Clear, ClearType, DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{cursor, execute, queue};

/// What the user wants, or that it is time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Refresh,
    Quit,
}

/// The terminal while the view has it.
pub(super) struct Screen;

impl Screen {
    /// Takes the terminal, if there is one to show something on and to hear keys from.
    pub(super) fn open() -> io::Result<Option<Screen>> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Ok(None);
        }
        enable_raw_mode()?;
        let screen = Screen;
        execute!(io::stdout(), EnterAlternateScreen, DisableLineWrap, cursor::Hide)?;
        Ok(Some(screen))
    }

    /// Until the time is over, a key ends it, or the size has changed.
    pub(super) fn wait(&mut self, time: Duration) -> io::Result<Wish> {
        let until = Instant::now() + time;
        while event::poll(until.saturating_duration_since(Instant::now()))? {
            match event::read()? {
                Event::Key(key) if ends(&key) => return Ok(Wish::Quit),
                Event::Resize(..) => return Ok(Wish::Refresh),
                _ => {}
            }
        }
        Ok(Wish::Refresh)
    }

    /// Shows what fits into the rows there are.
    pub(super) fn show(&mut self, view: impl FnOnce(usize) -> String) -> io::Result<()> {
        let (_, rows) = size()?;
        let text = view(usize::from(rows));
        let mut out = io::stdout().lock();
        queue!(out, cursor::MoveTo(0, 0))?;
        let lines: Vec<&str> = text.lines().take(usize::from(rows)).collect();
        for (row, line) in lines.iter().enumerate() {
            // A line feed behind the last row would scroll.
            let end: &[u8] = if row + 1 == lines.len() { b"" } else { b"\r\n" };
            queue!(out, Clear(ClearType::CurrentLine))?;
            out.write_all(line.as_bytes())?;
            out.write_all(end)?;
        }
        if lines.len() < usize::from(rows) {
            queue!(out, cursor::MoveToNextLine(1), Clear(ClearType::FromCursorDown))?;
        }
        out.flush()
    }
}

/// Keys arrive as such: also the one that otherwise interrupts.
fn ends(key: &KeyEvent) -> bool {
    let interrupts = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    interrupts || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that has gone away.
        let _ = execute!(io::stdout(), cursor::Show, EnableLineWrap, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}
