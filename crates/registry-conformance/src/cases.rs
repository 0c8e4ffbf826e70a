//! The list of cases: by theme, each with the sentence of the documentation that it holds an engine
//! to. A case that is not listed here is dead code, and the compiler says so.

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;
use vine_registry::Registry;

use crate::Handle;

/// A case that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// One case of the suite.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Case {
    /// What it is about; the module that its test is in.
    pub theme: &'static str,
    /// What it shows.
    pub name: &'static str,
    /// The sentence of `vine-registry`'s documentation that it holds the engine to.
    pub contract: &'static str,
    run: for<'a> fn(Handle<'a>, Handle<'a>) -> BoxFuture<'a, ()>,
}

impl Case {
    /// Runs the case with two new handles of an empty registry.
    ///
    /// # Panics
    /// When the engine breaks the contract.
    pub async fn run(&self, a: &dyn Registry, b: &dyn Registry) {
        let _citation = Citation(self.contract);
        let done = tokio::time::timeout(PATIENCE, (self.run)(a, b)).await;
        assert!(done.is_ok(), "not done after {PATIENCE:?}");
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.theme, self.name)
    }
}

/// Runs the case of this name with two new handles of an empty registry.
///
/// # Panics
/// When the engine breaks the contract, or there is no such case.
pub async fn run(theme: &str, name: &str, a: &dyn Registry, b: &dyn Registry) {
    let case = CASES
        .iter()
        .find(|case| case.theme == theme && case.name == name);
    match case {
        Some(case) => case.run(a, b).await,
        None => panic!("there is no case {theme}::{name}"),
    }
}

/// Says which contract was broken when a case panics.
struct Citation(&'static str);

impl Drop for Citation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("broken contract: {}", self.0);
        }
    }
}

macro_rules! cases {
    ([] $($theme:ident { $($case:ident: $contract:literal,)+ })+) => {
        /// Every case of the suite.
        pub const CASES: &[Case] = &[$($(
            Case {
                theme: stringify!($theme),
                name: stringify!($case),
                contract: $contract,
                run: |a, b| Box::pin(crate::$theme::$case(a, b)),
            },
        )+)+];
    };
}

/// Hands the list of cases to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __with_cases {
    ($then:path, $($arguments:tt)*) => {
        $then! { [$($arguments)*]
            registration {
                a_registered_service_is_found:
                    "Registry::register_with: registers every node of the service; Registry::init: optional",
                nodes_are_merged_by_id:
                    "Registry::register_with: nodes are merged by id with those registered before",
                a_known_id_is_replaced:
                    "Registry::register_with: a known id is replaced",
                many_nodes_in_one_call:
                    "Registry::register_with: registers every node of the service",
                many_calls_at_once:
                    "Registry::register_with: nodes are merged by id, no call undoes another",
                names_that_look_alike_are_not_the_same:
                    "Service::name: the name that clients ask for, as it is",
                ids_that_look_alike_are_not_the_same:
                    "Node::id: what tells this node from the others of the service, as it is",
                the_unknown_is_not_found:
                    "Registry::get_service_with: NotFound when there is none",
                every_way_to_wait_gives_an_answer:
                    "GetOptions::wait and allow_stale: how long to wait, not what to answer",
                a_listing_is_sorted:
                    "Registry::list_services_with: sorted by namespace and name",
                a_listing_tells_versions_and_nodes:
                    "ServiceSummary: the versions with live nodes, sorted, and the number of nodes if known",
                a_listing_of_nothing_is_empty:
                    "Registry::list_services_with: what services there are; none is no error",
                a_listing_forgets_what_is_gone:
                    "ServiceSummary::versions: the versions with live nodes",
                a_reported_node_stays_while_its_owner_lives:
                    "Registry::report_unreachable: the engine looks after the node, and does not take the caller's word for it",
                both_handles_give_the_same:
                    "Registry::get_service_with: the live nodes of a service, whoever asks",
            }
            versions {
                versions_are_found_apart_and_sorted:
                    "Registry::get_service_with: one Service for each version, sorted by version as text",
                a_node_moves_to_another_version:
                    "Registry::register_with: a known id moves if the version is another one",
                a_node_moves_with_another_holder:
                    "Registry::register_with: a known id moves if the version is another one; the later registration wins",
                service_fields_are_those_of_the_last_change:
                    "Service: metadata, endpoints and apis are those of the live node whose registration changed last",
                service_fields_belong_to_one_version:
                    "Service: metadata, endpoints and apis are those of one version",
                service_fields_go_with_their_node:
                    "Service: metadata, endpoints and apis are those of a live node",
                a_renewal_does_not_change_service_fields:
                    "Service: a renewal is no change",
                a_changed_node_brings_its_service_fields:
                    "Service: metadata, endpoints and apis are those of the live node whose registration changed last",
            }
            ownership {
                the_later_holder_wins:
                    "Error::Replaced: of two registrations with the same id the later one wins",
                the_loser_is_told_until_it_gives_up:
                    "Registry::register_with: Replaced when somebody else registered the same id later, until this handle deregisters it",
                the_loser_deregisters_nothing:
                    "Registry::deregister_with: ends this handle's registrations, and a replaced one is ended already",
                the_loser_that_gave_up_may_win_again:
                    "Registry::register_with: Replaced until this handle deregisters it; then the later registration wins",
                the_loser_closes_without_harm:
                    "Registry::close: ends what this handle registered, and a replaced registration is ended already",
                a_lost_node_takes_no_others_along:
                    "Error::Replaced: it concerns the node that it names",
                a_winner_that_leaves_takes_its_node:
                    "Error::Replaced: the loser does not come back by itself",
            }
            deregister {
                named_nodes_end:
                    "Registry::deregister_with: ends the registrations of the nodes named",
                without_names_all_of_the_version_end:
                    "Registry::deregister_with: if it names none, all of them in that version",
                without_names_others_stay:
                    "Registry::deregister_with: if it names none, all of this handle",
                unknown_ones_are_none_to_end:
                    "Registry::deregister_with: unknown ones are none to end",
                another_version_is_unknown:
                    "Registry::deregister_with: a node registered in another version is unknown",
                what_it_says_besides_names_does_not_matter:
                    "Registry::deregister_with: name, version and ids say what ends",
                somebody_elses_node_is_refused:
                    "Registry::deregister_with: NotOwner when somebody else registered one of the nodes named",
                what_is_refused_ends_nothing:
                    "Registry::deregister_with: NotOwner, with nothing ended",
                force_removes_or_says_what_to_do:
                    "DeregisterOptions::force: removes nodes of others, too; Unsupported by engines that can't",
                force_on_ones_own_works_everywhere:
                    "DeregisterOptions::force: it is for nodes of others",
                what_ended_can_be_registered_again:
                    "Registry::deregister_with: ends a registration, not the right to it",
            }
            ttl {
                a_node_does_not_vanish_within_its_ttl:
                    "Service::ttl: how long a registration holds without being renewed",
                a_node_ends_with_its_ttl:
                    "Service::ttl: how long a registration holds without being renewed",
                renewing_keeps_a_node:
                    "Registry::register_with: repeating the call renews the ttl",
                without_a_ttl_a_node_stays:
                    "RegisterOptions::ttl: without any, until it is deregistered",
                the_option_goes_before_the_service:
                    "RegisterOptions::ttl: if not set, the service's own",
                results_show_the_ttl_in_force:
                    "Service::ttl: in results, the ttl in force",
                each_registration_has_its_own:
                    "RegisterOptions::ttl: how long this registration holds",
                a_later_call_sets_it_anew:
                    "RegisterOptions::ttl: the last call says how long the registration holds",
                an_update_renews:
                    "Registry::register_with: a call that changes something renews the ttl as well",
                what_ran_out_can_be_registered_again:
                    "Registry::register_with: registers what is no longer registered",
                one_that_cannot_be_kept_is_refused:
                    "Capabilities::min_ttl and max_ttl: others are refused",
            }
            namespaces {
                without_one_it_is_that_of_the_options:
                    "Options::namespace: the namespace of services that name none",
                a_look_up_sees_one:
                    "Service::namespace: services in different namespaces do not see each other",
                one_id_may_be_in_each:
                    "Node: identified by namespace, service name and id",
                deregistering_ends_one:
                    "Node: identified by namespace, service name and id",
                a_listing_sees_one_or_all:
                    "ListOptions::namespace: which namespaces to list",
                a_watch_sees_one:
                    "WatchOptions::namespace: which namespaces to watch",
                a_watch_of_the_own_one_sees_no_other:
                    "Namespaces::Own: that of the registry's options",
                a_watch_of_all_sees_each:
                    "Namespaces::All: every one",
            }
            watch {
                it_begins_with_what_there_is:
                    "Watcher::take_snapshot: the services that there were when the watch began",
                of_nothing_it_begins_empty:
                    "Registry::watch: a snapshot, then every change",
                each_change_has_its_action:
                    "Action: create, update and delete say what happened",
                an_event_holds_what_has_become:
                    "Event::service: the service in the version concerned, after the change",
                an_event_holds_just_the_nodes_concerned:
                    "Event::service: just the nodes concerned",
                a_move_is_a_delete_and_a_create:
                    "Registry::watch: a node that moves is deleted in the old version, then created in the new one",
                a_change_of_service_fields_is_an_update_without_nodes:
                    "Action::Update: without nodes, what belongs to the service itself changed",
                what_changes_nothing_is_no_event:
                    "Registry::watch: every change, and nothing else",
                an_event_tells_when_it_was_observed:
                    "Event::timestamp: when it was observed, in Unix seconds",
                a_replaced_node_is_an_update:
                    "Action::Update: nodes that changed, also when another handle replaced them",
                it_is_a_stream_as_well:
                    "Watcher: a Stream of Updates as well",
            }
            watch_scope {
                of_one_service_it_tells_of_no_other:
                    "WatchOptions::service: the one service to watch",
                of_all_it_tells_of_each:
                    "WatchOptions::service: if not set, all of them",
                each_watch_hears_everything:
                    "Registry::watch: every change, to each watcher",
                stopping_ends_it:
                    "Stopper::stop: its owner hears nothing more, others do",
                dropping_one_leaves_the_others:
                    "Watcher: dropping one stops it, and no other",
                a_dropped_next_loses_nothing:
                    "Watcher::next: cancel safe",
                it_wakes_who_waits:
                    "Watcher::next: waits for the next update",
            }
            watch_stress {
                one_begun_amid_changes_misses_nothing:
                    "Registry::watch: a snapshot, then every change, with nothing between",
                a_slow_reader_gets_the_difference:
                    "Watcher: a reader that falls behind gets the difference between what it has seen and what there is",
                a_slow_reader_holds_up_nobody:
                    "Publisher: it never waits",
                after_a_storm_all_agree:
                    "Watcher: once quiet, its snapshot and its events are what get_service gives",
            }
            cancel {
                a_dropped_register_is_done_or_not:
                    "Registry::register_with: dropping the future leaves the old or the new registration",
                a_dropped_register_can_be_deregistered:
                    "Registry::register_with: a later deregister removes what a dropped call left",
                a_dropped_register_can_be_repeated:
                    "Registry: a call that was dropped is done or not done; calling again does it",
                a_dropped_deregister_can_be_repeated:
                    "Registry: a call that was dropped is done or not done; calling again does it",
                dropped_look_ups_do_no_harm:
                    "Registry: every method may be dropped before it ends",
                dropped_watches_do_no_harm:
                    "Registry: every method may be dropped before it ends",
            }
            validation {
                names_that_are_none:
                    "Error::InvalidService: the field, and what would be right",
                names_that_are_too_long:
                    "Capabilities::max_name_len: how many bytes name, namespace and id may have, each",
                no_nodes_and_twice_the_same:
                    "Error::InvalidService: a service needs at least one node, with distinct ids",
                addresses_that_are_none:
                    "Node::address: host:port, [v6]:port or a name with a port",
                one_bad_node_spoils_the_call:
                    "Registry::register_with: InvalidService, with nothing registered",
                names_that_are_looked_up:
                    "Registry::get_service_with: a name that can't be registered is InvalidService, not NotFound",
                what_is_too_large:
                    "Capabilities::max_service_size: what is larger is TooLarge, with nothing registered",
            }
            close {
                every_later_call_gives_closed:
                    "Registry::close: every later call gives Closed",
                closing_again_is_fine:
                    "Registry::close: closing again is fine",
                what_it_registered_ends:
                    "Registry::close: ends what this handle registered",
                its_watches_end:
                    "Registry::close: ends its watches",
                the_watches_of_others_go_on:
                    "Registry::close: ends its own watches, not those of others",
                others_take_over_its_ids:
                    "Registry::close: lets everything go",
            }
            round_trip {
                every_field:
                    "Service: what is registered is what is found",
                every_kind_of_address:
                    "Node::address: as it was registered",
                unicode:
                    "Service: text of any script is kept as it is",
                what_is_empty:
                    "Service: an empty version, text, key or document is one",
                odd_keys_and_values:
                    "Metadata: any text is a key, and any a value",
                what_is_long:
                    "Capabilities::max_service_size: what is smaller is kept whole",
                replacing_takes_away:
                    "Registry::register_with: what is registered replaces what was",
                the_callers_copy_is_its_own:
                    "Services: immutable; what the caller does to its copies changes nothing",
                an_answer_does_not_change_afterwards:
                    "Services: immutable; later changes do not reach answers given before",
            }
        }
    };
}

__with_cases!(cases,);
