//! The members of an object.

use std::sync::Arc;

use super::Text;

/// Up to so many members are searched one after the other, which is quicker than anything else for so few.
const FEW: usize = 16;

/// The members of an object by name, in the order in which they are written: texts, and values of a type. Its contents are shared,
/// as those of a [`Value`](super::Value) are.
///
/// More than a few members are found by their order. No table is made of their hashes: names come from services, which could
/// choose those that fall together.
#[derive(Clone, Debug)]
pub struct Members<V>(Form<V>);

/// A pointer and a length, or another pointer: no larger than an array.
#[derive(Clone, Debug)]
enum Form<V> {
    Few(Arc<[Member<V>]>),
    Many(Arc<Many<V>>),
}

type Member<V> = (Text, V);

#[derive(Debug)]
struct Many<V> {
    members: Arc<[Member<V>]>,
    /// The places of the members in the order of their names.
    sorted: Vec<u32>,
}

impl<V> Members<V> {
    /// An object of these members, in this order.
    ///
    /// # Errors
    /// A name that stands there twice.
    pub(super) fn new(members: Arc<[Member<V>]>) -> Result<Members<V>, Text> {
        if members.len() <= FEW {
            let twice = members.iter().enumerate().find(|(place, (name, _))| find(&members[..*place], name).is_some());
            return match twice {
                Some((_, (name, _))) => Err(name.clone()),
                None => Ok(Members(Form::Few(members))),
            };
        }
        let sorted = sort(&members);
        match sorted.windows(2).find(|pair| name(&members, pair[0]) == name(&members, pair[1])) {
            Some(pair) => Err(name(&members, pair[0]).clone()),
            None => Ok(Members(Form::Many(Arc::new(Many { members, sorted })))),
        }
    }

    fn members(&self) -> &Arc<[Member<V>]> {
        match &self.0 {
            Form::Few(members) => members,
            Form::Many(many) => &many.members,
        }
    }

    /// The member of this name.
    #[must_use]
    pub fn get(&self, wanted: &str) -> Option<&V> {
        match &self.0 {
            Form::Few(members) => find(members, wanted),
            Form::Many(many) => {
                let order = |place: &u32| name(&many.members, *place).as_str().cmp(wanted);
                let found = many.sorted.binary_search_by(order).ok()?;
                many.sorted.get(found).map(|place| &many.members[*place as usize].1)
            }
        }
    }

    /// The members with their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Text, &V)> {
        self.members().iter().map(|(name, value)| (name, value))
    }

    /// The names.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Text> {
        self.members().iter().map(|(name, _)| name)
    }

    /// The members without their names.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &V> {
        self.members().iter().map(|(_, value)| value)
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members().is_empty()
    }

    /// Whether both share the same contents.
    pub(super) fn is_same(&self, other: &Members<V>) -> bool {
        Arc::ptr_eq(self.members(), other.members())
    }

    /// The bytes that it takes to find members by their order, in two blocks, if there are more than a few.
    pub(super) fn bytes_of_places(members: usize) -> Option<(usize, usize)> {
        (members > FEW).then_some((members.saturating_mul(size_of::<u32>()), size_of::<Many<V>>()))
    }
}

impl<V> Default for Members<V> {
    fn default() -> Members<V> {
        Members(Form::Few(Arc::default()))
    }
}

/// A member whose name was there before replaces the value of the first one, and keeps its place.
impl<V, N: Into<Text>> FromIterator<(N, V)> for Members<V> {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(members: I) -> Members<V> {
        let mut members: Vec<Member<V>> = members.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let sorted = sort(&members);
        let runs = sorted.chunk_by(|one, other| name(&members, *one) == name(&members, *other));
        let runs: Vec<&[u32]> = runs.filter(|same| same.len() > 1).collect();
        let mut again = vec![false; members.len()];
        for same in runs {
            if let [first, .., last] = same {
                members.swap(*first as usize, *last as usize);
                same[1..].iter().for_each(|place| again[*place as usize] = true);
            }
        }
        let mut again = again.into_iter();
        members.retain(|_| !again.next().unwrap_or(false));
        // No name is there twice any more.
        Members::new(members.into()).unwrap_or_default()
    }
}

/// The member of this name among a few.
fn find<'a, V>(members: &'a [Member<V>], wanted: &str) -> Option<&'a V> {
    members.iter().find(|(name, _)| name.as_str() == wanted).map(|(_, value)| value)
}

fn name<V>(members: &[Member<V>], place: u32) -> &Text {
    &members[place as usize].0
}

/// The places of members in the order of their names, and where names are equal in their own. A text in which more members
/// stand than `u32` can count has been refused long before.
fn sort<V>(members: &[Member<V>]) -> Vec<u32> {
    let mut places: Vec<u32> = (0..).take(members.len()).collect();
    places.sort_by(|one, other| name(members, *one).cmp(name(members, *other)));
    places
}
