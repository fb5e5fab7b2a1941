/** The relay's admin API: its entries, its tokens and its app. */
import { AdminAudit } from "../../../admin/audit.ts";
import { AdminAuth } from "../../../admin/auth.ts";
import { adminApp } from "../../../admin/app.ts";
import { AdminEntries } from "../../../admin/entries.ts";
import type { EntryStore } from "../../../admin/entry_store.ts";
import { EventLog } from "../../../admin/event_log.ts";
import { agentsOf, snapshotOf, watchAgents, watchEntries } from "../../../admin/events.ts";
import { Watches } from "../../../admin/watch.ts";
import { shortened } from "../../../relay/status/relay_status.ts";
import { OtherAgents } from "../../../admin/other_agents.ts";
import { AdminTokens } from "../../../admin/admin_tokens.ts";
import { StatusListener } from "../../../admin/status_listener.tsx";
import { Leases } from "../../../admin/lease_expiry.ts";
import { type PeerList, PeerStatuses } from "../../../admin/peer_statuses.ts";
import { StorePeers } from "../../../admin/store_peers.ts";
import { peerFetch } from "../../deno/peer_fetch.ts";
import type { TlsFiles } from "../tls_files.ts";
import { peerTlsOf } from "./peers.ts";
import { SharedEntries } from "../../../admin/shared_entries.ts";
import { NoStore } from "../../../admin/no_store.ts";
import { EntryOperations } from "../../../admin/operations.ts";
import { adminTokensSource } from "../../../config/admin_options.ts";
import { hasReplicas } from "../../../config/store_address.ts";
import { readAdminTokens } from "../../../config/entries/admin_tokens.ts";
import { BoundedStore } from "../../../relay/directory/bounded_store.ts";
import type { Relay } from "../../../relay/relay.ts";
import { tryLockFile } from "../../deno/file_lock.ts";
import { StateFolder } from "../admin/state_folder.ts";
import { followConfig } from "../followed_config.ts";
import type { AppFetch } from "../http_dispatcher.ts";
import { tokenDigest } from "../token_digest.ts";
import type { WatchedFiles } from "../watched_files.ts";
import { entryFacts } from "../../../admin/entry_facts.ts";
import { openDirectoryStore } from "./directory_store.ts";
import type { Published } from "./published.ts";
import type { RelaySetup } from "./setup.ts";

/** One relay's admin API. */
export class RelayAdmin {
  readonly #relay: Relay;
  readonly #options: RelaySetup;
  readonly #entries: AdminEntries;
  readonly #leases: Leases;
  readonly #tokens = new AdminTokens();
  readonly #watches: Watches;
  #peers: PeerStatuses | undefined;
  /** Answers what comes to its listener; undefined where that is off. */
  readonly fetch: AppFetch | undefined;

  private constructor(
    relay: Relay,
    options: RelaySetup,
    configuration: Published,
    store: EntryStore,
  ) {
    this.#relay = relay;
    this.#options = options;
    const { log } = relay;
    const nowMs = Date.now;
    const entries = this.#entries = new AdminEntries({
      ...{ configuration, store, log, digest: tokenDigest },
    });
    relay.status.facts = entryFacts(entries);
    const audit = new AdminAudit(relay.audit, log, () => relay.metrics.auditFailed());
    const connected = () => connectedClusters(relay);
    this.#leases = new Leases({ entries, audit, connected, nowMs });
    this.#watches = watchesOf(relay, options.worker, { entries, configuration });
    const digest = (token: string): string => tokenDigest(token).toHex();
    const statusPages = new StatusListener(relay);
    this.fetch = options.admin && adminApp({
      pages: (exchange, auth) => statusPages.answer(exchange, auth),
      auth: new AdminAuth(this.#tokens, relay.metrics, relay.rateLimitedLog),
      hosts: options.admin.hosts,
      operations: new EntryOperations({ entries, configuration, digest, nowMs }),
      status: relay.status,
      people: () => relay.signIn?.signIn.people,
      watches: this.#watches,
      version: relay.config.version,
      audit,
      log,
    }).fetch;
  }

  /**
   * Opens the store, and uses what is in it.
   *
   * @returns undefined for a relay that keeps no entries and has no API
   * @throws {ConfigError} when the store can't be used
   */
  static async open(
    relay: Relay,
    options: RelaySetup,
    published: Published,
    tlsFiles: TlsFiles<"tls">,
  ): Promise<RelayAdmin | undefined> {
    const { store, peers } = await openStore(options, relay, tlsFiles);
    // A worker shows what the others do on the status page at the web listener, too.
    if (!store && !options.admin && !options.worker) return undefined;
    const admin = new RelayAdmin(relay, options, published, store ?? new NoStore());
    admin.#peers = relay.status.others = peers;
    await admin.#tokens.replace(options.admin?.tokens ?? []);
    await admin.#entries.open();
    // One of several workers is enough.
    if (options.worker?.isLead !== false) admin.#leases.open();
    return admin;
  }

  /** Takes over other tokens when their file changes. */
  follow(): WatchedFiles[] {
    const file = this.#options.admin?.tokensFile;
    if (!file) return [];
    const { metrics, log } = this.#relay;
    return [followConfig({
      source: "admin_tokens",
      paths: [file.path],
      known: [file],
      apply: async ([changed]) => {
        const source = adminTokensSource(file.path);
        const { tokens, warnings } = readAdminTokens(changed?.text ?? "", source);
        await this.#tokens.replace(tokens);
        for (const warning of warnings) log.warn(warning);
        return { tokens: tokens.length };
      },
      metrics,
      log,
    })];
  }

  /** Ends watches: a listener waits until its answers have ended. */
  leave(): void {
    this.#watches.close();
  }

  /** Makes this relay known to the others. @param url origin of its internal listener */
  advertise(url: string): void {
    this.#peers?.open(url);
  }

  async close(): Promise<void> {
    this.#peers?.close();
    this.#watches.close();
    this.#leases.close();
    await this.#entries.close();
  }
}

/** The API's watches, which hear of changes of entries, and of agents in this process and others. */
function watchesOf(
  relay: Relay,
  worker: RelaySetup["worker"],
  { entries, configuration }: {
    readonly entries: AdminEntries;
    readonly configuration: Published;
  },
): Watches {
  const events = new EventLog(shortened(relay.settings.instance!));
  watchEntries(entries, events);
  const others = new OtherAgents(events);
  watchAgents(relay, (event) => {
    if (worker?.isLead === false) worker.tellAgents(event);
    else events.add(event);
  });
  worker?.watch({ own: () => agentsOf(relay), others });
  return new Watches({
    log: events,
    digest: tokenDigest,
    snapshot: (scope) => {
      const agents = [...agentsOf(relay), ...others.all];
      return snapshotOf({ entries, configuration, agents }, scope);
    },
    isStopping: () => relay.isStopping,
    metrics: relay.metrics,
  });
}

interface OpenedStore {
  readonly store: EntryStore | undefined;
  readonly peers?: PeerStatuses;
}

async function openStore(
  setup: RelaySetup,
  { peers, log, settings }: Relay,
  tlsFiles: TlsFiles<"tls">,
): Promise<OpenedStore> {
  const { state, directory, worker } = setup;
  if (!directory || !peers) {
    return { store: state === undefined ? undefined : await StateFolder.open(state, tryLockFile) };
  }
  const { tokens } = peers;
  const id = settings.instance!;
  const statuses = (list: PeerList): PeerStatuses =>
    new PeerStatuses({ id, list, tokens, fetch: peerFetch(() => peerTlsOf(tlsFiles)) });
  if (worker?.hasOwnStore) {
    const store = state === undefined ? undefined : worker.entries();
    return { store, peers: statuses(worker.peerList()) };
  }
  const store = new BoundedStore(await openDirectoryStore(setup));
  store.open();
  return {
    store: new SharedEntries({ store, tokens, log, hasReplicas: hasReplicas(directory.url) }),
    peers: statuses(new StorePeers(store, id)),
  };
}

/** Ids of clusters with agents; undefined while a relay does not tell of its own. */
async function connectedClusters({ status }: Relay): Promise<ReadonlySet<string> | undefined> {
  const { clusters, relays } = await status.read();
  if (relays.some(({ fault }) => fault !== undefined)) return undefined;
  return new Set(clusters.filter(({ agents }) => agents.length > 0).map(({ id }) => id));
}
