//! HyperLogLog against plain registers, against values that a real server made, and against damage.

use super::*;

const SPARSE_BYTES_MAX: usize = 3000;

fn element(number: u64) -> Vec<u8> {
    format!("element:{number}").into_bytes()
}

fn view(hll: &Hll) -> HllRef<'_> {
    HllRef::of(hll.as_bytes()).expect("a HyperLogLog of its own is one")
}

fn registers_of(hll: &Hll) -> Vec<u8> {
    let mut union = Registers::new();
    view(hll).merge_into(&mut union).expect("sound");
    union.values().to_vec()
}

/// GET of a key after `PFADD k a b c` in Redis 7.0.
#[test]
fn has_the_bytes_of_the_real_thing() {
    let mut hll = Hll::new();
    assert_eq!(hll.as_bytes(), b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff");
    assert_eq!(view(&hll).remembered(), Some(0));
    for name in [b"a", b"b", b"c"] {
        assert_eq!(hll.raise(Mark::of(name), SPARSE_BYTES_MAX), Ok(true));
        assert_eq!(hll.raise(Mark::of(name), SPARSE_BYTES_MAX), Ok(false));
    }
    let expected = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80\x60\xf3\x80\x50\xb1\x84\x4b\xfb\x80\x42\x5a";
    assert_eq!(hll.as_bytes(), expected);
    assert_eq!(view(&hll).estimate(), Ok(3));
}

/// Sparse and dense forms hold what a plain array of registers holds, across the promotion.
#[test]
fn forms_agree_with_plain_registers() {
    for bytes_max in [0, 18, 30, 300, 3000, 20_000] {
        let (mut hll, mut dense, mut model) = (Hll::new(), Hll::new(), vec![0u8; REGISTERS]);
        dense.make_dense().expect("empty");
        for number in 0..6_000u64 {
            let mark = Mark::of(&element(number));
            let is_raised = model[mark.index] < mark.rank;
            model[mark.index] = model[mark.index].max(mark.rank);
            assert_eq!(view(&hll).is_raised_by(mark), Ok(is_raised));
            assert_eq!(hll.raise(mark, bytes_max), Ok(is_raised));
            assert_eq!(dense.raise(mark, bytes_max), Ok(is_raised));
            if number % 500 == 0 {
                assert_eq!(registers_of(&hll), model);
                assert_eq!(registers_of(&dense), model);
                assert_eq!(view(&hll).estimate(), view(&dense).estimate());
            }
        }
        assert_eq!(view(&hll).form() == Form::Dense, bytes_max < 10_000, "{bytes_max}");
        hll.make_dense().expect("sound");
        assert_eq!(hll.as_bytes(), dense.as_bytes());
    }
}

/// The error is that of the algorithm: 1.04 / √16384, here within five times that.
#[test]
fn estimates_are_near() {
    let (mut hll, mut checkpoint) = (Hll::new(), 1);
    for number in 1..=200_000u64 {
        hll.raise(Mark::of(&element(number)), SPARSE_BYTES_MAX).expect("sound");
        if number == checkpoint {
            let estimate = view(&hll).estimate().expect("sound");
            let error = estimate.abs_diff(number) as f64 / number as f64;
            assert!(error < 5.0 * 1.04 / 128.0, "{number}: {estimate}");
            checkpoint = number * 3 / 2 + 1;
        }
    }
}

#[test]
fn both_ways_of_merging_agree() {
    let mut state = 1u64;
    let mut dense = vec![0; dense::BYTES];
    for byte in &mut dense {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = (state >> 56) as u8;
    }
    let results = [false, true].map(|by_groups| {
        dense::set_by_groups(by_groups);
        let mut union = Registers::new();
        union.merge_dense(&dense);
        let mut packed = Vec::new();
        union.pack_into(&mut packed);
        (union.values().to_vec(), packed)
    });
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0].1, dense);
    assert!((0..REGISTERS).all(|index| dense::get(&dense, index) == results[0].0[index]));
}

#[test]
fn merging_takes_the_highest_registers() {
    let (mut left, mut right, mut all) = (Hll::new(), Hll::new(), Hll::new());
    for number in 0..3_000u64 {
        let mark = Mark::of(&element(number));
        all.raise(mark, SPARSE_BYTES_MAX).expect("sound");
        let part = if number % 3 == 0 { &mut left } else { &mut right };
        part.raise(mark, SPARSE_BYTES_MAX).expect("sound");
    }
    assert_eq!((view(&left).form(), view(&right).form()), (Form::Sparse, Form::Dense));
    let mut union = Registers::new();
    view(&left).merge_into(&mut union).expect("sound");
    view(&right).merge_into(&mut union).expect("sound");
    assert_eq!(Ok(union.estimate()), view(&all).estimate());
    for mut target in [left, right] {
        target.raise_all(&union, SPARSE_BYTES_MAX).expect("sound");
        assert_eq!(registers_of(&target), registers_of(&all));
        assert_eq!(view(&target).remembered(), None);
    }
}

/// What is no HyperLogLog is refused, and damaged runs are met by an error.
#[test]
fn damage_is_noticed() {
    let mut hll = Hll::new();
    for number in 0..40 {
        hll.raise(Mark::of(&element(number)), SPARSE_BYTES_MAX).expect("sound");
    }
    let good = hll.as_bytes().to_vec();
    assert!(HllRef::of(&good[..15]).is_none());
    for (at, byte) in [(0, b'h'), (3, b'l'), (4, 2), (4, 0)] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert!(HllRef::of(&bad).is_none(), "{at}");
    }
    let mut longer = good.clone();
    longer.extend_from_slice(b"hello");
    assert_eq!(HllRef::of(&longer).expect("a header").estimate(), Err(Corrupt));
    for cut in HEADER_BYTES..good.len() {
        assert_eq!(HllRef::of(&good[..cut]).expect("a header").estimate(), Err(Corrupt));
    }
    for at in HEADER_BYTES..good.len() {
        for byte in 0..=255 {
            let mut bad = good.clone();
            bad[at] = byte;
            let bad = HllRef::of(&bad).expect("a header");
            let is_sound = bad.estimate().is_ok();
            assert_eq!(bad.merge_into(&mut Registers::new()).is_ok(), is_sound);
            let mut copy = Hll::from(bad);
            for number in 100..140 {
                let mark = Mark::of(&element(number));
                let needed = view(&copy).is_raised_by(mark);
                let raised = copy.raise(mark, good.len() + 10);
                assert!(raised == needed || !is_sound, "{at} {byte}");
            }
            assert!(!is_sound || view(&copy).estimate().is_ok());
        }
    }
}

/// Ranks beyond what a run can say, and registers that no element can have.
#[test]
fn extreme_registers() {
    let mut hll = Hll::new();
    assert_eq!(hll.raise(Mark { index: 7, rank: 32 }, SPARSE_BYTES_MAX), Ok(true));
    assert_eq!(view(&hll).form(), Form::Sparse);
    assert_eq!(view(&hll).runs_text().as_deref(), Some("z:7 v:32,1 Z:16376"));
    assert_eq!(hll.raise(Mark { index: 7, rank: 33 }, SPARSE_BYTES_MAX), Ok(true));
    assert_eq!(view(&hll).form(), Form::Dense);
    assert_eq!(registers_of(&hll)[..9], [0, 0, 0, 0, 0, 0, 0, 33, 0]);
    let full = [hll.as_bytes()[..HEADER_BYTES].to_vec(), vec![0xff; dense::BYTES]].concat();
    assert_eq!(HllRef::of(&full).expect("a header").estimate(), Ok(1 << 63));
}
