//! A proof that an expression is cheap: read off its syntax, before it ever runs.
//!
//! Every construct on a list of allowed ones has a cost that is linear in the size of its input, and
//! costs compose: what is piped is substituted, what is iterated is multiplied. A construct that is
//! not on the list (recursion, definitions, reductions, ranges, regular expressions, reading JSON
//! from a text) has no bound, and neither has what contains it. Sizes are counted in bytes of JSON;
//! work in bytes touched, about a nanosecond each, with a flat price per evaluated node.
//!
//! Invariants: a bound may be far too high and is never too low; operands of which each is a stream
//! multiply, so that only a pipe, a comma and a list take more than one output.

mod filters;
mod linear;

use jaq_core::load::lex::{Lexer, StrPart};
use jaq_core::load::parse::{BinaryOp, Parser, Term};
use jaq_core::ops::Math;
use jaq_core::path::{Part, Path};

use crate::value::Value;
use linear::Linear;

/// Most copies that an output may hold of the input and of each variable, and of each byte of the
/// source for each element of the input.
const COPIES_MAX: u64 = 64;
/// Most bytes touched for each byte of the source and of the input.
const WORK_MAX: u64 = 4096;
/// What it costs to evaluate a node of the syntax tree once.
const NODE: u64 = 64;
/// Reading a byte of the input.
const READ: u64 = 8;
/// JSON in a string of JSON: a control character takes six characters.
const QUOTED: u64 = 6;
/// Sorting and comparing: logarithms of what fits into memory, squared.
const SORTED: u64 = 64;
/// A number that was computed.
const NUMBER: u64 = 32;
/// Digits of a number are read in quadratic time.
const LITERAL_BYTES_MAX: usize = 100;

/// The most that one evaluation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Bytes touched, about a nanosecond each.
    pub work: u64,
    /// Bytes of JSON in its output.
    pub output_bytes: u64,
}

/// The bound of an expression, for any input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proof(Cost);

impl Proof {
    /// None where none was found, which says nothing about the expression.
    pub(super) fn of(source: &str) -> Option<Self> {
        let tokens = Lexer::new(source).lex().ok()?;
        let term = Parser::new(&tokens).parse(|parser| parser.term()).ok()?;
        let cost = cost(&term)?;
        let length = source.len() as u64;
        let small = cost.size.within(COPIES_MAX, COPIES_MAX * length);
        let cheap = cost.work.within(WORK_MAX * length, WORK_MAX * length);
        (small && cheap).then_some(Self(cost))
    }

    pub(super) fn bound(self, input: &Value, variables_bytes: u64) -> Bound {
        let input_bytes = input.body().len() as u64;
        // MessagePack and texts say in one byte what takes up to six in JSON.
        let input = match input.content_type().is_json() {
            true => input_bytes,
            false => input_bytes * QUOTED,
        };
        let input = input.max(4);
        let variables = variables_bytes * QUOTED;
        let output_bytes = self.0.size.at(input, variables);
        let read = (input_bytes + variables_bytes) * READ;
        let work = self.0.work.at(input, variables);
        Bound {
            work: work.saturating_add(read).saturating_add(output_bytes),
            output_bytes,
        }
    }
}

/// What a filter costs, in terms of the size of its input.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Bytes of all its outputs.
    size: Linear,
    /// How many outputs there are.
    count: Linear,
    /// Whether there is at most one.
    single: bool,
    /// Bytes touched.
    work: Linear,
}

impl Cost {
    /// One output of this size, for this work beside the flat price.
    const fn one(size: Linear, work: Linear) -> Self {
        Self {
            size,
            count: Linear::constant(1),
            single: true,
            work: work.plus(Linear::constant(NODE)),
        }
    }

    const fn input() -> Self {
        Self::one(Linear::INPUT, Linear::ZERO)
    }

    const fn constant(bytes: u64) -> Self {
        Self::one(Linear::constant(bytes), Linear::ZERO)
    }

    fn single(self) -> Option<Self> {
        self.single.then_some(self)
    }

    const fn working(mut self, work: Linear) -> Self {
        self.work = self.work.plus(work);
        self
    }

    const fn beside(self, other: Self) -> Self {
        Self {
            size: self.size.plus(other.size),
            count: self.count.plus(other.count),
            single: false,
            work: self.work.plus(other.work),
        }
    }

    const fn either(self, other: Self) -> Self {
        Self {
            size: self.size.max(other.size),
            count: self.count.max(other.count),
            single: self.single && other.single,
            work: self.work.plus(other.work),
        }
    }

    /// The other on each output of this one.
    fn then(self, other: Self) -> Self {
        let over = |each: Linear| each.over(self.size, self.count);
        Self {
            size: over(other.size),
            count: over(other.count),
            single: self.single && other.single,
            work: self.work.plus(over(other.work)),
        }
    }

    /// All its outputs as one list.
    const fn collected(self) -> Self {
        let size = self.size.plus(self.count).plus(Linear::constant(2));
        Self::one(size, self.work.plus(self.size))
    }

    /// Its element for each element of the input.
    const fn elements() -> Self {
        Self {
            size: Linear::INPUT,
            count: Linear::ELEMENTS,
            single: false,
            work: Linear::INPUT.plus(Linear::constant(NODE)),
        }
    }
}

fn cost(term: &Term<&str>) -> Option<Cost> {
    Some(match term {
        Term::Id => Cost::input(),
        Term::Num(text) if text.len() <= LITERAL_BYTES_MAX => Cost::constant(text.len() as u64),
        Term::Str(format, parts) => string(*format, parts)?,
        Term::Var(_) => Cost::one(Linear::VARIABLES, Linear::ZERO),
        Term::Arr(None) => Cost::constant(2),
        Term::Arr(Some(items)) => cost(items)?.collected(),
        Term::Obj(members) => object(members)?,
        Term::Neg(term) => {
            let term = cost(term)?.single()?;
            Cost::one(term.size.plus(Linear::constant(NUMBER)), term.work)
        }
        Term::BinOp(left, operator, right) => operation(left, operator, right)?,
        Term::TryCatch(term, None) => cost(term)?.working(Linear::constant(NODE)),
        Term::IfThenElse(cases, otherwise) => {
            let mut branches = match otherwise {
                Some(term) => cost(term)?,
                None => Cost::input(),
            };
            for (condition, branch) in cases {
                let condition = cost(condition)?.single()?;
                branches = branches.either(cost(branch)?).working(condition.work);
            }
            branches.working(Linear::constant(NODE))
        }
        Term::Path(term, Path(parts)) => {
            let mut found = cost(term)?;
            for (part, _) in parts {
                found = found.then(step(part)?);
            }
            found
        }
        Term::Call(name, arguments) => filters::cost(name, arguments)?,
        Term::Num(_)
        | Term::Recurse
        | Term::Label(..)
        | Term::Break(_)
        | Term::Fold(..)
        | Term::TryCatch(_, Some(_))
        | Term::Def(..) => return None,
    })
}

/// Whether a term is a string or number as it stands there; indexing by anything else may search.
fn is_literal(term: &Term<&str>) -> bool {
    match term {
        Term::Str(None, parts) => !parts.iter().any(|part| matches!(part, StrPart::Term(_))),
        Term::Neg(term) => matches!(**term, Term::Num(_)),
        Term::Num(text) => text.len() <= LITERAL_BYTES_MAX,
        _ => false,
    }
}

fn step(part: &Part<Term<&str>>) -> Option<Cost> {
    let literal = |bound: &Option<Term<&str>>| bound.as_ref().is_none_or(is_literal);
    match part {
        Part::Index(key) if is_literal(key) => Some(Cost::input()),
        Part::Range(None, None) => Some(Cost::elements()),
        Part::Range(from, to) if literal(from) && literal(to) => {
            Some(Cost::input().working(Linear::INPUT))
        }
        _ => None,
    }
}

fn string(format: Option<&str>, parts: &[StrPart<&str, Term<&str>>]) -> Option<Cost> {
    let format = filters::cost(format.unwrap_or("@text"), &[])?;
    let (mut size, mut work) = (Linear::constant(2), Linear::ZERO);
    for part in parts {
        match part {
            StrPart::Str(text) => {
                size = size.plus(Linear::constant(QUOTED * text.len() as u64));
            }
            StrPart::Char(_) => size = size.plus(Linear::constant(QUOTED)),
            StrPart::Term(term) => {
                let part = cost(term)?.single()?.then(format);
                size = size.plus(part.size);
                work = work.plus(part.work);
            }
        }
        // Parts are put together from the last one on, and copied each time.
        work = work.plus(size).plus(Linear::constant(NODE));
    }
    Some(Cost::one(size, work))
}

fn object(members: &[(Term<&str>, Option<Term<&str>>)]) -> Option<Cost> {
    let count = members.len() as u64;
    // Members are put together one by one, and what there is is copied each time.
    let mut work = Linear::constant(count * count * NODE / 2 + count * NODE);
    let mut size = Linear::constant(2);
    for (key, member) in members {
        let (key, member) = match (key, member) {
            (Term::Var(name), None) => (Cost::constant(name.len() as u64), cost(key)?),
            (Term::Str(..), None) if is_literal(key) => (cost(key)?, Cost::input()),
            (Term::Str(..), Some(member)) => (cost(key)?, cost(member)?),
            // A key that is no string may be as deep as the input, and is sorted by.
            _ => return None,
        };
        let (key, member) = (key.single()?, member.single()?);
        size = size
            .plus(key.size)
            .plus(member.size)
            .plus(Linear::constant(4));
        work = work.plus(key.work).plus(member.work).plus(key.size);
    }
    Some(Cost::one(size, work))
}

fn operation(left: &Term<&str>, operator: &BinaryOp<&str>, right: &Term<&str>) -> Option<Cost> {
    let operands = || Some((cost(left)?.single()?, cost(right)?.single()?));
    Some(match operator {
        BinaryOp::Pipe(None) => cost(left)?.then(cost(right)?),
        BinaryOp::Comma => cost(left)?.beside(cost(right)?),
        BinaryOp::Alt => {
            let (left, right) = (cost(left)?, cost(right)?);
            left.either(right).working(Linear::constant(NODE))
        }
        BinaryOp::Or | BinaryOp::And => {
            let (left, right) = operands()?;
            Cost::one(Linear::constant(5), left.work.plus(right.work))
        }
        BinaryOp::Cmp(_) => {
            let (left, right) = operands()?;
            let compared = left.size.plus(right.size).times(SORTED);
            Cost::one(Linear::constant(5), left.work.plus(right.work)).working(compared)
        }
        BinaryOp::Math(Math::Mul) => filters::product(left, right)?,
        BinaryOp::Math(operator) => {
            let (left, right) = operands()?;
            calculation(*operator, left, right)
        }
        BinaryOp::Assign | BinaryOp::UpdateAlt if is_place(left) => {
            let right = cost(right)?.single()?;
            let size = Linear::INPUT.plus(path(left)).plus(right.size);
            Cost::one(size, right.work).working(place(left))
        }
        BinaryOp::Update if is_place(left) => {
            let (left_cost, right) = (cost(left)?, cost(right)?.single()?);
            let changed = left_cost.then(right);
            let size = Linear::INPUT.plus(path(left)).plus(changed.size);
            Cost::one(size, changed.work).working(place(left))
        }
        BinaryOp::UpdateMath(operator @ (Math::Add | Math::Sub | Math::Div | Math::Rem))
            if is_place(left) =>
        {
            let changed = calculation(*operator, cost(left)?, cost(right)?.single()?);
            let size = Linear::INPUT.plus(path(left)).plus(changed.size);
            Cost::one(size, changed.work).working(place(left))
        }
        _ => return None,
    })
}

fn calculation(operator: Math, left: Cost, right: Cost) -> Cost {
    let number = Linear::constant(NUMBER);
    let (size, work) = match operator {
        Math::Add => (left.size.plus(right.size), left.size.plus(right.size)),
        Math::Sub => (left.size, left.size.plus(right.size).times(SORTED)),
        // A text is split: a character of its own takes quotes and a comma.
        Math::Div => (left.size.times(4), left.size.times(4).plus(right.size)),
        Math::Rem | Math::Mul => (left.size.plus(right.size), left.size.plus(right.size)),
    };
    let work = work.plus(left.work).plus(right.work);
    Cost::one(size.plus(number), work)
}

/// Whether a term names one place in its input, such as `.a.b[0]`.
fn is_place(term: &Term<&str>) -> bool {
    match term {
        Term::Id => true,
        Term::Path(term, Path(parts)) => {
            let fixed = |part: &Part<_>| step(part).is_some_and(|step| step.single);
            is_place(term) && parts.iter().all(|(part, _)| fixed(part))
        }
        _ => false,
    }
}

/// What it costs to change a place: what is on the way there is copied, and may be made.
fn place(term: &Term<&str>) -> Linear {
    let Term::Path(term, Path(parts)) = term else {
        return Linear::constant(NODE);
    };
    let step = Linear::INPUT.plus(Linear::constant(NODE));
    place(term).plus(step.times(parts.len() as u64))
}

/// Bytes of the keys that a place may add to its input.
fn path(term: &Term<&str>) -> Linear {
    let Term::Path(term, Path(parts)) = term else {
        return Linear::ZERO;
    };
    let key = |part: &Part<Term<&str>>| match part {
        Part::Index(key) => cost(key).map_or(Linear::ZERO, |key| key.size),
        Part::Range(..) => Linear::ZERO,
    };
    let sum = |sum: Linear, (part, _): &(_, _)| sum.plus(key(part)).plus(Linear::constant(4));
    parts.iter().fold(path(term), sum)
}

#[cfg(test)]
mod tests;
