//! Pages, as browsers see them.

mod accounts;
mod certified;
mod checks;
mod chromium;
mod forgeries;
mod identity;
mod joining;
mod limits;
mod sign_in;
