//! The router under a simulated clock, seeded chance and a model of the store: whole lives of it, with
//! crashes in between, checked against what was really published and settled after every step.

mod check;
mod matching;
mod model;
mod promises;
mod regressions;
mod simulation;
mod withdrawn;
mod withdrawn_seek;
mod world;
