//! One way to write a policy, its comments kept.

mod print;
mod tree;

use crate::hujson;
use crate::problem::Errors;

/// Formats a policy's text: tabs, one item a line or short lists on one line as the author had
/// them, values of neighbouring lines aligned, a comma after the last item of what spans lines.
/// Comments stay, and so does at most one blank line between items. The result means the same,
/// and is formatted already.
///
/// The text only has to be HuJSON; whether it is a good policy is another question.
///
/// # Errors
/// The place where it is no HuJSON.
pub fn format(text: &str) -> Result<String, Errors> {
    hujson::parse(text)?;
    let file = tree::read(text);
    Ok(print::file(&file))
}
