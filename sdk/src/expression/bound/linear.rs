//! A quantity as a linear form: so much for each byte of the input, each of its elements, each byte
//! of the variables, and so much in any case.

/// Coefficients saturate: what is at the maximum has no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Linear {
    input: u64,
    elements: u64,
    variables: u64,
    constant: u64,
}

impl Linear {
    pub(super) const ZERO: Self = Self::constant(0);
    /// As large as the input.
    pub(super) const INPUT: Self = Self {
        input: 1,
        ..Self::ZERO
    };
    /// As many as the input has elements, on any level.
    pub(super) const ELEMENTS: Self = Self {
        elements: 1,
        ..Self::ZERO
    };
    /// As large as all variables together.
    pub(super) const VARIABLES: Self = Self {
        variables: 1,
        ..Self::ZERO
    };

    pub(super) const fn constant(constant: u64) -> Self {
        Self {
            input: 0,
            elements: 0,
            variables: 0,
            constant,
        }
    }

    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            elements: self.elements.saturating_add(other.elements),
            variables: self.variables.saturating_add(other.variables),
            constant: self.constant.saturating_add(other.constant),
        }
    }

    pub(super) const fn times(self, factor: u64) -> Self {
        Self {
            input: self.input.saturating_mul(factor),
            elements: self.elements.saturating_mul(factor),
            variables: self.variables.saturating_mul(factor),
            constant: self.constant.saturating_mul(factor),
        }
    }

    pub(super) const fn max(self, other: Self) -> Self {
        const fn max(a: u64, b: u64) -> u64 {
            if a > b { a } else { b }
        }
        Self {
            input: max(self.input, other.input),
            elements: max(self.elements, other.elements),
            variables: max(self.variables, other.variables),
            constant: max(self.constant, other.constant),
        }
    }

    /// The sum of this quantity over `count` values of `size` bytes in all.
    pub(super) fn over(self, size: Self, count: Self) -> Self {
        let by_size = size.times(self.input);
        let by_elements = size.elements_of().times(self.elements);
        let each = count.times(self.constant);
        // All of the variables again for each of many is a square.
        let fixed = count.elements == 0 && count.input == 0 && count.variables == 0;
        let variables = match self.variables {
            0 => 0,
            _ if !fixed => u64::MAX,
            variables => variables.saturating_mul(count.constant),
        };
        let variables = Self {
            variables,
            ..Self::ZERO
        };
        by_size.plus(by_elements).plus(each).plus(variables)
    }

    /// Elements of a value of this size: each takes a byte or more.
    const fn elements_of(self) -> Self {
        Self {
            input: 0,
            elements: self.elements.saturating_add(self.input),
            ..self
        }
    }

    /// Whether it is at most `copies` of the input and the variables, and `constant` for each
    /// element and in any case.
    pub(super) const fn within(self, copies: u64, constant: u64) -> bool {
        self.input <= copies
            && self.variables <= copies
            && self.elements <= constant
            && self.constant <= constant
    }

    /// Its value for an input and variables of these sizes.
    pub(super) const fn at(self, input: u64, variables: u64) -> u64 {
        let input = self
            .input
            .saturating_add(self.elements)
            .saturating_mul(input);
        let variables = self.variables.saturating_mul(variables);
        input
            .saturating_add(variables)
            .saturating_add(self.constant)
    }
}
