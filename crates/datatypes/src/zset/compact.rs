//! A small sorted set: one listpack of members, each with its score behind it, in order. Every operation walks it.
//! Never decides when a set is small.

use std::ops::Range;

use super::score::{ScoreText, score_in, score_of};
use crate::listpack::{Item, Listpack, Pos};
use crate::sample::Chooser;

#[inline]
pub(super) fn len(listpack: &Listpack) -> usize {
    listpack.len() / 2
}

/// The place of a member, and its score.
#[inline]
pub(super) fn find(listpack: &Listpack, member: &[u8]) -> Option<(Pos, f64)> {
    let pos = listpack.find(listpack.first(), member, 2)?;
    Some((pos, score_at(listpack, pos)))
}

/// The score of the member at `pos`.
#[inline]
fn score_at(listpack: &Listpack, pos: Pos) -> f64 {
    score_of(listpack.get(score_pos(listpack, pos)))
}

#[inline]
fn score_pos(listpack: &Listpack, pos: Pos) -> Pos {
    listpack.next(pos).expect("a member has a score behind it")
}

/// The place of the member with `rank` members before it.
fn seek(listpack: &Listpack, rank: usize) -> Pos {
    listpack.seek(2 * rank as i64).expect("a rank below the length")
}

pub(super) fn rank(listpack: &Listpack, member: &[u8]) -> Option<(usize, f64)> {
    let wanted = Item::of(member);
    let mut pairs = Pairs::new(listpack).enumerate();
    pairs.find(|(_, (item, _))| *item == wanted).map(|(rank, (_, score))| (rank, score))
}

/// How many members lie before a place that a question tells, which is true for all members up to it.
pub(super) fn rank_by(listpack: &Listpack, mut before: impl FnMut(f64, &[u8]) -> bool) -> usize {
    let mut text = itoa::Buffer::new();
    Pairs::new(listpack).take_while(|(item, score)| before(*score, item.as_bytes(&mut text))).count()
}

/// Gives the member at `pos` another score.
pub(super) fn move_to(listpack: &mut Listpack, pos: Pos, member: &[u8], score: f64) {
    listpack.remove_run(pos, 2);
    insert_new(listpack, member, score);
}

/// Adds a member that is not there.
pub(super) fn insert_new(listpack: &mut Listpack, member: &[u8], score: f64) {
    let mut text = itoa::Buffer::new();
    let mut next = listpack.first();
    while let Some(pos) = next {
        let other = score_at(listpack, pos);
        if other > score || other == score && listpack.get(pos).as_bytes(&mut text) > member {
            break;
        }
        next = after(listpack, pos);
    }
    insert_at(listpack, next, Item::of(member), score);
}

/// The member behind the one at `pos`.
#[inline]
fn after(listpack: &Listpack, pos: Pos) -> Option<Pos> {
    listpack.next(score_pos(listpack, pos))
}

/// Adds a member before `pos`, or at the end.
pub(super) fn insert_at(listpack: &mut Listpack, pos: Option<Pos>, member: Item<'_>, score: f64) {
    let pos = listpack.insert(pos, member);
    listpack.insert_after(pos, ScoreText::default().item(score));
}

pub(super) fn remove(listpack: &mut Listpack, member: &[u8]) -> Option<f64> {
    let (pos, score) = find(listpack, member)?;
    listpack.remove_run(pos, 2);
    Some(score)
}

pub(super) fn remove_ranks(listpack: &mut Listpack, ranks: Range<usize>) {
    if !ranks.is_empty() {
        listpack.remove_run(seek(listpack, ranks.start), 2 * ranks.len());
    }
}

/// Visits the members of these ranks, in order or from the last one back.
pub(super) fn visit(
    listpack: &Listpack,
    ranks: Range<usize>,
    reverse: bool,
    mut visit: impl FnMut(&[u8], f64),
) {
    if ranks.is_empty() {
        return;
    }
    let mut text = itoa::Buffer::new();
    let mut pos = seek(listpack, if reverse { ranks.end - 1 } else { ranks.start });
    let mut left = ranks.len();
    loop {
        visit(listpack.get(pos).as_bytes(&mut text), score_at(listpack, pos));
        left -= 1;
        if left == 0 {
            return;
        }
        let next = if reverse {
            listpack.prev(pos).and_then(|score| listpack.prev(score))
        } else {
            after(listpack, pos)
        };
        pos = next.expect("as many members as ranks");
    }
}

/// Visits members drawn one by one; more than one are read once for all.
pub(super) fn draw(
    listpack: &Listpack,
    draws: usize,
    mut random: impl FnMut(usize) -> usize,
    mut show: impl FnMut(&[u8], f64),
) {
    if draws == 1 {
        let rank = random(len(listpack));
        return visit(listpack, rank..rank + 1, false, show);
    }
    let mut text = itoa::Buffer::new();
    let pairs: Vec<(Item<'_>, f64)> = Pairs::new(listpack).collect();
    for _ in 0..draws {
        let (member, score) = pairs[random(pairs.len())];
        show(member.as_bytes(&mut text), score);
    }
}

pub(super) fn sample(
    listpack: &Listpack,
    count: usize,
    mut random: impl FnMut(usize) -> usize,
    mut visit: impl FnMut(&[u8], f64),
) {
    let mut text = itoa::Buffer::new();
    let mut chooser = Chooser::new(count, len(listpack));
    for (item, score) in Pairs::new(listpack).filter(|_| chooser.chooses(&mut random)) {
        visit(item.as_bytes(&mut text), score);
    }
}

/// Whether elements of unknown origin are members in order, each with a score behind it. That no member comes twice, with
/// different scores, is not looked at.
pub(super) fn is_in_order(listpack: &Listpack) -> bool {
    let mut items = listpack.iter();
    let [mut text, mut text_before] = [itoa::Buffer::new(), itoa::Buffer::new()];
    let mut before: Option<(Item<'_>, f64)> = None;
    while let Some(member) = items.next() {
        let Some(score) = items.next().and_then(score_in).filter(|score| !score.is_nan()) else {
            return false;
        };
        let ascends = before.is_none_or(|(member_before, score_before)| {
            score_before < score
                || score_before == score
                    && member_before.as_bytes(&mut text_before) < member.as_bytes(&mut text)
        });
        if !ascends {
            return false;
        }
        before = Some((member, score));
    }
    true
}

/// Members with their scores, in order.
pub(super) struct Pairs<'a> {
    items: crate::listpack::Iter<'a>,
}

impl<'a> Pairs<'a> {
    pub(super) fn new(listpack: &'a Listpack) -> Pairs<'a> {
        Pairs { items: listpack.iter() }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Item<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<(Item<'a>, f64)> {
        let member = self.items.next()?;
        Some((member, score_of(self.items.next()?)))
    }
}
