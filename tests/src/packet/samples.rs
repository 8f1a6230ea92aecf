// SPDX-License-Identifier: MIT OR Apache-2.0
//! Samples of the tracing build, compared with what the programs did and counted.

use std::{env, sync::LazyLock, time::Duration};

use lb_common::{
    reason::Reason,
    schema::{LONGEST_SAMPLE, SampleFilter},
};
use lb_dataplane::{SampleReader, Sampled};

use super::{
    beside::Pins,
    got::{Action, Got},
};

/// The gate stays open for a test.
const LEASE: Duration = Duration::from_hours(1);

static ALL: LazyLock<bool> = LazyLock::new(|| env::var_os("XVS_TEST_TRACING").is_some());

/// Returns whether every packet test runs the tracing build: `XVS_TEST_TRACING=1`.
pub(super) fn are_wanted() -> bool {
    *ALL
}

/// The samples of a plane.
pub struct Samples {
    reader: SampleReader,
    _pins: Pins,
}

impl Samples {
    /// Traces every packet that is counted.
    #[track_caller]
    pub(super) fn new(mut reader: SampleReader, pins: Pins) -> Self {
        let filter = SampleFilter {
            interval: 1,
            burst: u64::MAX / 2,
            reasons: SampleFilter::bits(Reason::ALL.iter().filter(|reason| **reason != Reason::NotOurs)),
            snaplen: LONGEST_SAMPLE,
            ..SampleFilter::default()
        };
        reader.begin(0, &filter).expect("filters can be written");
        reader.open(LONGEST_SAMPLE, LEASE).expect("the gate can be opened");
        Self { reader, _pins: pins }
    }

    /// Asserts that the sample of a packet says what the programs did with it, and why.
    #[track_caller]
    pub(super) fn check(&mut self, got: &Got) {
        let all: Vec<Sampled> = std::iter::from_fn(|| self.reader.next_sample()).collect();
        let counts = self.reader.counts(0).expect("counts can be read");
        assert_eq!((counts.limited, counts.lost), (0, 0));
        let was_counted =
            !got.reasons.is_empty() || got.reals.iter().any(|(_, c)| c.packets_in + c.packets_out > 0);
        if !was_counted {
            assert!(all.is_empty(), "a sample of a packet that is not counted: {all:?}");
            return;
        }
        let [Sampled { sample, bytes }] = &all[..] else { panic!("{} samples of {got:?}", all.len()) };
        let reason = Reason::from_number(sample.reason).expect("a reason of ours");
        if got.reasons.is_empty() {
            assert_eq!(reason, Reason::Forwarded, "{got:?}");
            assert!(!sample.real.is_none() && !sample.service.is_none(), "{sample:?}");
        } else {
            assert!(got.reasons.contains_key(&reason), "{reason:?}, counted {:?}", got.reasons);
        }
        assert_eq!(Action::of(sample.action), got.action);
        assert_eq!(sample.length as usize, got.sent.len());
        let kept = got.sent.len().min(LONGEST_SAMPLE as usize);
        assert!(**bytes == got.sent[..kept], "the sample has the frame as it was received");
    }
}
