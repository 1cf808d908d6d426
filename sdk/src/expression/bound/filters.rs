//! What named filters cost. What is not here has no bound.

use jaq_core::load::parse::{BinaryOp, Term};
use jaq_core::ops::Math;

use super::linear::Linear;
use super::{Cost, NODE, NUMBER, QUOTED, SORTED, calculation, is_literal, is_place, place};

/// A factor up to which a text may be repeated.
const REPEATED_MAX: u64 = 16;
/// Digits of a rounded floating-point number.
const ROUNDED: u64 = 320;

pub(super) fn cost(name: &str, arguments: &[Term<&str>]) -> Option<Cost> {
    let input = Linear::INPUT;
    match (name, arguments) {
        (_, []) => plain(name),
        ("map", [filter]) => Some(Cost::elements().then(super::cost(filter)?).collected()),
        ("select", [condition]) => {
            let condition = super::cost(condition)?.single()?;
            Some(Cost::input().working(condition.work))
        }
        ("any" | "all", [condition]) => {
            let each = Cost::elements().then(super::cost(condition)?.single()?);
            Some(Cost::one(Linear::constant(5), each.work).working(each.count.times(NODE * 4)))
        }
        ("error", [message]) => {
            let message = super::cost(message)?.single()?;
            Some(Cost::one(Linear::ZERO, message.work).working(message.size.times(QUOTED)))
        }
        ("has", [key]) if is_literal(key) => Some(Cost::constant(5)),
        ("del", [at]) if is_place(at) => Some(Cost::input().working(place(at))),
        ("startswith" | "endswith", [text]) => {
            let text = super::cost(text)?.single()?;
            Some(Cost::one(Linear::constant(5), text.work).working(text.size))
        }
        ("ltrimstr" | "rtrimstr", [text]) => {
            let text = super::cost(text)?.single()?;
            Some(Cost::one(input, text.work).working(text.size))
        }
        ("split", [by]) => {
            let by = super::cost(by)?.single()?;
            Some(calculation(Math::Div, Cost::input(), by).working(Linear::constant(4 * NODE)))
        }
        _ => None,
    }
}

/// A filter without arguments. Those that jq defines in jq evaluate some nodes more.
fn plain(name: &str) -> Option<Cost> {
    let input = Linear::INPUT;
    let nodes = |count: u64| Linear::constant(count * NODE);
    Some(match name {
        "empty" | "true" | "false" | "null" | "not" => Cost::constant(5).working(nodes(4)),
        "error" => Cost::one(Linear::ZERO, input.times(QUOTED)).working(nodes(2)),
        "type" => Cost::constant(9).working(nodes(16)),
        "now" => Cost::constant(NUMBER),
        "length" | "utf8bytelength" => Cost::one(input.plus(Linear::constant(NUMBER)), input),
        "floor" | "round" | "ceil" | "fabs" | "sqrt" | "abs" => {
            Cost::one(input.plus(Linear::constant(ROUNDED)), input).working(nodes(4))
        }
        "tostring" | "tojson" | "@json" | "@text" => {
            let quoted = input.times(QUOTED).plus(Linear::constant(2));
            Cost::one(quoted, quoted).working(nodes(4))
        }
        // Of the JSON of what is no text: four characters for three, three characters for one.
        "@base64" => Cost::one(input.times(2 * QUOTED).plus(Linear::constant(8)), input)
            .working(input.times(2 * QUOTED)),
        "@uri" => Cost::one(input.times(3 * QUOTED).plus(Linear::constant(8)), input)
            .working(input.times(3 * QUOTED)),
        "ascii_downcase" | "ascii_upcase" | "trim" | "ltrim" | "rtrim" | "reverse" => {
            Cost::one(input, input)
        }
        "sort" | "min" | "max" => {
            Cost::one(input, input.times(SORTED)).working(Linear::ELEMENTS.times(2 * NODE))
        }
        // The keys of a list are its indexes.
        "keys" | "keys_unsorted" => {
            let size = input
                .plus(Linear::ELEMENTS.times(12))
                .plus(Linear::constant(2));
            Cost::one(size, input.times(SORTED)).working(Linear::ELEMENTS.times(NODE))
        }
        "to_entries" => {
            let size = input
                .plus(Linear::ELEMENTS.times(40))
                .plus(Linear::constant(2));
            Cost::one(size, Linear::ELEMENTS.times(16 * NODE))
        }
        "first" | "last" => Cost::input().working(nodes(2)),
        "any" | "all" => Cost::one(Linear::constant(5), Linear::ELEMENTS.times(4 * NODE)),
        "values" | "nulls" | "booleans" | "numbers" | "strings" | "arrays" | "objects"
        | "iterables" | "scalars" => Cost::input().working(nodes(8)),
        _ => return None,
    })
}

/// A product: of numbers, or of anything and a small number, since a text is repeated by it.
pub(super) fn product(left: &Term<&str>, right: &Term<&str>) -> Option<Cost> {
    let (left_cost, right_cost) = (super::cost(left)?.single()?, super::cost(right)?.single()?);
    let cost = calculation(Math::Mul, left_cost, right_cost);
    if is_number(left) && is_number(right) {
        return Some(cost);
    }
    let factor = |term: &Term<&str>| match term {
        Term::Num(text) => text.parse::<u64>().ok().filter(|n| *n <= REPEATED_MAX),
        _ => None,
    };
    let factor = factor(left).or_else(|| factor(right))?.max(1);
    Some(Cost::one(cost.size.times(factor), cost.work).working(cost.size.times(factor)))
}

/// Whether a term gives a number or fails, whatever its input.
fn is_number(term: &Term<&str>) -> bool {
    match term {
        Term::Num(_) | Term::Neg(_) => true,
        Term::Call(name, arguments) if arguments.is_empty() => matches!(
            *name,
            "length" | "utf8bytelength" | "floor" | "round" | "ceil" | "fabs" | "sqrt" | "now"
        ),
        Term::BinOp(left, BinaryOp::Math(operator), right) => {
            matches!(operator, Math::Rem) || is_number(left) && is_number(right)
        }
        Term::BinOp(_, BinaryOp::Pipe(None), right) => is_number(right),
        _ => false,
    }
}
