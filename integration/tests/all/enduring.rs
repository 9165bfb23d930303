//! Whatever becomes of the agent, requests are answered, and what happens later is followed: the fault table of `consul/README.md`, a
//! test for each row.

mod agents;
mod answers;
mod crowds;
mod doubts;
mod indexes;
mod stand;
mod table;
