//! How heavy an expression is on the stack: jaq parses, compiles and runs it by recursion, without
//! a bound of its own.

use jaq_core::load::lex::{Lexer, StrPart, Tok, Token};

/// Most operators that one path through an expression may chain and nest. Twice as many overflowed
/// the stack of a thread (2 MiB) in a build without optimisation.
pub(super) const WEIGHT_MAX: usize = 128;

/// Most steps of one path, `.a.b.c`.
const PATH_MAX: usize = 512;

/// Whether an expression stays within its bound. What is no jq passes: the parser says why.
pub(super) fn bearable(source: &str) -> bool {
    if brackets(source) > WEIGHT_MAX {
        return false;
    }
    Lexer::new(source)
        .lex()
        .map_or(true, |tokens| weight(&tokens, false) <= WEIGHT_MAX)
}

/// How deeply brackets are open. The lexer itself recurses, so this looks at bytes; a bracket in a
/// string counts too.
fn brackets(source: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

/// Operators of this block and of the heaviest one inside it.
fn weight(tokens: &[Token<&str>], object: bool) -> usize {
    let (mut own, mut steps, mut inner) = (0, 0, 0);
    for Token(text, token) in tokens {
        match token {
            Tok::Block(block) => {
                steps += 1;
                inner = inner.max(1 + weight(block, text.starts_with('{')));
            }
            Tok::Str(parts) => {
                for part in parts {
                    if let StrPart::Term(term) = part {
                        inner = inner.max(1 + weight(std::slice::from_ref(term), false));
                    }
                }
            }
            Tok::Sym => match *text {
                "(" | ")" | "[" | "]" | "{" | "}" => {}
                "?" | ":" | ";" => steps += 1,
                path if path.starts_with('.') => steps += 1,
                "," if object => {}
                _ => own += 1,
            },
            Tok::Word => own += usize::from(recurses(text)),
            Tok::Var | Tok::Fmt | Tok::Num => {}
        }
    }
    own.max(steps / (PATH_MAX / WEIGHT_MAX)) + inner
}

fn recurses(word: &str) -> bool {
    matches!(
        word,
        "and" | "or" | "if" | "elif" | "def" | "try" | "as" | "reduce" | "foreach" | "label"
    )
}
