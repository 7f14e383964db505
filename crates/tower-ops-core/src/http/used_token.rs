/// Which of its tokens a service was shown, in the extensions of its answer: for whoever writes
/// down what was changed. Its name, such as `current`, and never the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedToken(&'static str);

impl UsedToken {
    /// Names a token.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0
    }
}
