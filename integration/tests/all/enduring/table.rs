//! The fault table: what goes wrong, what must happen, and the test that sees to it. `consul/README.md` has it, with what Lictor and
//! others did.

/// A row: the test, the fault, and what must happen.
const ROWS: &[(&str, &str, &str)] = &[
    // Indexes.
    ("an_index_that_goes_back_is_forgotten", "the index goes back", "asked anew without one; changes are followed"),
    (
        "an_index_of_zero_is_never_asked_with_in_a_loop",
        "the index is 0",
        "counts as 1; no busy loop; changes are followed",
    ),
    ("an_index_that_is_missing_is_done_without", "no index", "no busy loop; changes are followed"),
    (
        "queries_that_return_at_once_without_news_are_no_busy_loop",
        "queries return at once, the index is equal",
        "no busy loop; changes are followed",
    ),
    (
        "a_query_that_is_cut_while_it_waits_is_no_error",
        "waiting queries are cut (some agents do so after 30 s)",
        "no error, nothing degraded",
    ),
    (
        "an_agent_with_its_memory_but_low_indexes_is_heard_at_once",
        "the agent restarts with its memory, its indexes are lower",
        "nothing is lost; changes are followed at once",
    ),
    // Answers.
    ("an_agent_that_answers_429_is_waited_for", "429 on everything", "all is kept, `degraded`"),
    ("an_agent_that_answers_500_or_503_is_waited_for", "500 or 503 on everything", "all is kept, `degraded`"),
    (
        "a_token_that_was_deleted_takes_nothing_with_it",
        "403 on everything: the token was deleted",
        "all is kept, `degraded`",
    ),
    ("an_agent_that_knows_no_path_takes_nothing_with_it", "404 on everything", "all is kept, `degraded`"),
    (
        "an_agent_that_redirects_is_not_followed_elsewhere",
        "301 or 307 on everything",
        "not followed; all is kept, `degraded`",
    ),
    (
        "an_agent_that_resets_or_closes_instead_of_answering_is_waited_for",
        "every connection is reset or closed instead of an answer",
        "all is kept, `degraded`",
    ),
    ("garbage_is_no_catalog", "200 with garbage, with nothing, or with half of a JSON", "all is kept, `degraded`"),
    (
        "json_of_another_type_is_no_empty_catalog",
        "JSON of another type (`null`, a number, a list for a table)",
        "all is kept, `degraded`",
    ),
    ("a_body_that_stops_before_its_end_is_no_answer", "bodies stop in the middle", "all is kept, `degraded`"),
    ("a_body_that_never_ends_has_a_deadline", "bodies trickle and never end", "all is kept; asked again after seconds"),
    ("an_enormous_answer_is_given_up", "an answer of 80 MiB", "not read to its end; all is kept, `degraded`"),
    (
        "answers_that_come_a_second_late_are_answers",
        "every answer comes 1 s late",
        "nothing degraded; changes are followed",
    ),
    (
        "an_agent_that_falls_silent_is_waited_for",
        "half-open: takes bytes, answers nothing, never closes",
        "all is kept; heard again when the line is back",
    ),
    (
        "an_agent_that_hangs_at_the_start_delays_by_seconds_only",
        "hangs for 2 s at the start; what hung never answers",
        "503 `no_catalog`; serves some seconds later",
    ),
    // Good answers that are not to be believed.
    ("a_read_that_fails_concerns_its_service_only", "500 for one service", "it keeps what it has, others are followed"),
    (
        "a_service_that_the_token_may_not_read_keeps_its_instances",
        "403 for one service",
        "it keeps what it has, others are followed",
    ),
    (
        "an_answer_that_is_not_understood_concerns_its_service_only",
        "JSON of another type for one service",
        "it keeps what it has, others are followed",
    ),
    (
        "what_vanishes_without_a_known_leader_is_asked_of_the_leader",
        "no known leader, and a service is missing",
        "read again in default mode before it counts",
    ),
    (
        "what_vanishes_from_an_old_answer_is_asked_of_the_leader",
        "last contact 6 s ago, and a service is missing",
        "read again in default mode before it counts",
    ),
    (
        "what_vanishes_while_nobody_leads_stays",
        "no leader, lists are empty, default mode is 500",
        "all is kept, `degraded`",
    ),
    (
        "a_streamed_answer_without_anything_is_read_again",
        "streamed answers are empty",
        "read again without an index before it counts",
    ),
    (
        "what_the_token_is_said_not_to_see_is_held",
        "instances are missing, `Results-Filtered-By-ACLs` says why",
        "these are held, others are followed",
    ),
    (
        "a_list_of_names_that_is_always_filtered_says_nothing_of_what_vanishes",
        "the list of names is always filtered (a token with few rights)",
        "removals are obeyed",
    ),
    (
        "a_token_that_sees_nothing_any_longer_takes_nothing_with_it",
        "the token sees nothing: empty lists, status 200",
        "all is held, `degraded`",
    ),
    (
        "a_token_that_no_longer_sees_consul_takes_nothing_with_it",
        "the token no longer sees `consul`, nor one service",
        "that service is held, `degraded`; others are followed",
    ),
    // Crowds, and what is on purpose.
    (
        "half_of_the_services_missing_from_one_answer_are_held",
        "half of the services vanish",
        "held until they reappear; `degraded`",
    ),
    (
        "half_of_the_instances_of_all_services_are_held",
        "half of the instances of every service vanish",
        "held, and asked only where nothing is confirmed",
    ),
    (
        "a_node_that_loses_all_that_it_carried_while_it_stays_is_doubted",
        "a node loses its three services, and stays a member",
        "held",
    ),
    (
        "a_node_that_leaves_with_all_that_it_carried_is_believed",
        "a node leaves, with its three services",
        "gone at once",
    ),
    (
        "a_node_that_gossip_calls_dead_is_doubted_where_it_carried_many",
        "`serfHealth` of the nodes that carry everything is critical",
        "held until it passes",
    ),
    (
        "critical_checks_of_services_are_obeyed_however_many_they_are",
        "the services' own checks are critical, all at once",
        "503 `no_instances` at once",
    ),
    ("one_instance_that_deregisters_goes_at_once", "one instance deregisters", "gone at once"),
    (
        "the_last_instance_of_a_service_goes_at_once",
        "the last instance of a service deregisters",
        "503 `no_instances` at once",
    ),
    ("one_service_is_scaled_from_twenty_to_one_at_once", "one service is scaled from 20 to 1", "gone at once"),
    (
        "a_suspect_that_refuses_a_connection_is_gone",
        "what is held refuses a connection",
        "gone; the request is answered by another one",
    ),
    ("suspects_that_an_operator_gives_up_are_gone", "an operator accepts that they are gone", "gone at once"),
    // Agents.
    (
        "an_agent_that_is_killed_takes_nothing_with_it",
        "connection refused: the agent is killed and comes back",
        "all is kept, `degraded`",
    ),
    (
        "an_agent_that_comes_back_without_its_memory_takes_nothing_with_it",
        "the agent restarts without its memory (`-dev`)",
        "all is held; what registers again is confirmed",
    ),
    (
        "an_agent_that_loses_its_memory_while_it_is_heard_takes_nothing_with_it",
        "the same within a moment",
        "all is held",
    ),
    (
        "an_agent_that_comes_late_is_heard_when_it_comes",
        "the agent comes after the gateway",
        "503 `no_catalog`; serves when it comes",
    ),
    (
        "there_are_never_more_connections_than_the_budget_allows",
        "30 services, `connections = 8`, errors, a reconnect",
        "8 connections at most",
    ),
    (
        "connections_that_are_reset_because_they_are_too_many_cost_no_service",
        "the agent resets connections over its limit (1.8)",
        "all is kept; no storm of attempts",
    ),
    (
        "connections_that_are_answered_429_because_they_are_too_many_cost_no_service",
        "the agent answers those with 429 (1.9 and later)",
        "all is kept; no storm of attempts",
    ),
    (
        "a_gateway_that_gets_fewer_connections_than_it_may_have_serves_all",
        "12 services, and the agent gives 6 connections",
        "all are served, changes are followed",
    ),
    ("a_fault_that_lasts_is_logged_once", "a fault that lasts", "a line for each change of state, then one a minute"),
];

#[test]
fn the_fault_table_is_in_the_readme_and_each_row_has_a_test() {
    let readme = include_str!("../../../../consul/README.md");
    let table = readme.lines().skip_while(|line| !line.starts_with("| fault | must |")).skip(2);
    let table: Vec<Vec<&str>> = table
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    for (row, (_, fault, must)) in table.iter().zip(ROWS) {
        assert_eq!(row[..2], [*fault, *must], "the row of consul/README.md");
        assert!(row.len() == 5 && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
    assert_eq!(table.len(), ROWS.len(), "rows of consul/README.md, and those here");
    let files = [
        include_str!("agents.rs"),
        include_str!("answers.rs"),
        include_str!("crowds.rs"),
        include_str!("doubts.rs"),
        include_str!("indexes.rs"),
    ];
    let tests = files.iter().flat_map(|text| text.split("#[tokio::test").skip(1));
    let mut tests: Vec<&str> =
        tests.filter_map(|text| text.split_once("async fn ")?.1.split_once('(').map(|(name, _)| name)).collect();
    let mut rows: Vec<&str> = ROWS.iter().map(|(test, ..)| *test).collect();
    tests.sort_unstable();
    rows.sort_unstable();
    assert_eq!(tests, rows, "a test for each row, and a row for each test");
}
