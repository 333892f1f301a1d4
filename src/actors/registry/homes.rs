//! Homes as small numbers, and which of them are ours.
//!
//! Invariant: a home's number never changes while the process lives. Where one instance has everything, everything is ours.

use rustc_hash::FxHashMap;

use crate::domain::Home;

/// The number of a home in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct HomeId(u32);

impl HomeId {
    /// Nobody said.
    pub const NONE: HomeId = HomeId(0);
    /// [`Home::several`]
    pub const SEVERAL: HomeId = HomeId(1);
}

/// A home that is ours, and since when: it may go and come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenure {
    pub home: HomeId,
    since: u64,
}

#[derive(Default)]
pub(super) struct Homes {
    /// Those after [`HomeId::SEVERAL`], by their number.
    all: Vec<Home>,
    numbers: FxHashMap<Home, HomeId>,
    /// `None` where everything is ours.
    ours: Option<FxHashMap<HomeId, u64>>,
    clock: u64,
}

impl Homes {
    pub fn number(&mut self, home: &Home) -> HomeId {
        if *home == Home::several() {
            return HomeId::SEVERAL;
        }
        if let Some(known) = self.numbers.get(home) {
            return *known;
        }
        let number = HomeId(self.all.len() as u32 + 2);
        self.all.push(home.clone());
        self.numbers.insert(home.clone(), number);
        number
    }

    pub fn home(&self, number: HomeId) -> Option<Home> {
        match number {
            HomeId::NONE => None,
            HomeId::SEVERAL => Some(Home::several()),
            HomeId(number) => self.all.get(number as usize - 2).cloned(),
        }
    }

    /// From now on only what is said to be ours is.
    pub fn share(&mut self) {
        self.ours.get_or_insert_default();
    }

    pub fn own(&mut self, home: HomeId) -> Tenure {
        self.clock += 1;
        let tenure = Tenure {
            home,
            since: self.clock,
        };
        if let Some(ours) = &mut self.ours {
            ours.insert(home, tenure.since);
        }
        tenure
    }

    pub fn disown(&mut self, home: HomeId) {
        if let Some(ours) = &mut self.ours {
            ours.remove(&home);
        }
    }

    /// As [`Self::disown`], unless it has gone since, and maybe come back; `true` if it was ours until now.
    pub fn end(&mut self, tenure: Tenure) -> bool {
        let Some(ours) = &mut self.ours else { return false };
        let lasts = ours.get(&tenure.home) == Some(&tenure.since);
        if lasts {
            ours.remove(&tenure.home);
        }
        lasts
    }

    /// Sensors of several homes are everybody's: each instance has the readings that it got.
    pub fn is_ours(&self, home: HomeId) -> bool {
        let Some(ours) = &self.ours else { return true };
        home == HomeId::SEVERAL || ours.contains_key(&home)
    }

    /// `None` where everything is ours.
    pub fn ours(&self) -> Option<Vec<(Home, Tenure)>> {
        let ours = self.ours.as_ref()?.iter();
        let all = ours.filter_map(|(&home, &since)| Some((self.home(home)?, Tenure { home, since })));
        Some(all.collect())
    }
}
