/** Compiles the route table from the caches, and again when its sources have changed. */
import { cachedTunnels } from "../cached_tunnels.ts";
import type { Context } from "../context.ts";
import type { Tunnel } from "../tunnel.ts";
import { BindingNamespaces } from "./binding_namespaces.ts";
import { compileRoutes } from "./compile_routes.ts";
import { maxEntries, NamedTexts } from "../named_texts.ts";
import { remembered } from "./remembered.ts";
import type { RouteTable } from "./route_table.ts";
import {
  callerTokenNotRead,
  callerTokenUnreadable,
  caNotRead,
  caUnreadable,
  credentialNotRead,
  credentialUnreadable,
  readCa,
  readCallerToken,
  readCredential,
} from "./route_texts.ts";

/** What a compiler works with. */
export interface RouteCompilerOptions {
  readonly context: Pick<Context, "client" | "world" | "settings" | "digest" | "log">;
  /** What is wrong with the text of a CA, as a relative clause; undefined if agents can use it. */
  readonly caFault: (text: string) => string | undefined;
  /** Called when there is a new table. */
  readonly compiled: () => void;
}

/** Changes that come in this time are compiled together: at most five tables a second. */
const compileMs = 200;

/** Holds the newest table. */
export class RouteCompiler {
  readonly #options: RouteCompilerOptions;
  readonly #namespaces: BindingNamespaces;
  readonly #cas: NamedTexts;
  readonly #credentials: NamedTexts;
  /** Digests of callers' tokens. */
  readonly #callerTokens: NamedTexts;
  #tunnels: ReadonlyMap<string, Tunnel> = new Map();
  #table: RouteTable = { bindings: new Map(), tunnels: new Map(), policies: new Map() };
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isRunning = false;

  constructor(options: RouteCompilerOptions) {
    this.#options = options;
    const { context, caFault } = options;
    const { client, settings, digest } = context;
    const changed = () => this.soon();
    // To look at a long CA takes up to half a second, and each is read again every 10 s.
    const faultOf = remembered(caFault, digest, maxEntries);
    const ofBindings = { settings, changed, user: "TunnelBindings" };
    this.#namespaces = new BindingNamespaces({ context, changed });
    this.#cas = new NamedTexts({
      ...{ ...ofBindings, unread: caNotRead, unreadable: caUnreadable },
      read: (path) => readCa(client, path, faultOf),
    });
    this.#credentials = new NamedTexts({
      ...{ ...ofBindings, unread: credentialNotRead, unreadable: credentialUnreadable },
      read: (path) => readCredential(client, path),
    });
    this.#callerTokens = new NamedTexts({
      ...{ settings, changed, user: "AccessPolicies" },
      ...{ unread: callerTokenNotRead, unreadable: callerTokenUnreadable },
      read: (path) => readCallerToken(client, path, digest),
    });
  }

  /** The tunnels of the last compilation, by their keys. */
  get tunnels(): ReadonlyMap<string, Tunnel> {
    return this.#tunnels;
  }

  /** The newest table; empty before the first. */
  get table(): RouteTable {
    return this.#table;
  }

  /** Whether a compilation is due. */
  get isDue(): boolean {
    return this.#timer !== undefined;
  }

  /** Compiles for the first time. */
  start(): void {
    this.#isRunning = true;
    this.#compile();
  }

  /** A source has changed: compiles again within {@link compileMs}. */
  soon(): void {
    if (!this.#isRunning) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#compile();
    }, compileMs);
  }

  /** Stops compiling, and reading texts and namespaces. */
  stop(): void {
    this.#isRunning = false;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const source of this.#sources) source.stop();
  }

  /** What is read by name. */
  get #sources(): readonly (BindingNamespaces | NamedTexts)[] {
    return [this.#namespaces, this.#cas, this.#credentials, this.#callerTokens];
  }

  #compile(): void {
    const { context: { world, settings, digest }, compiled } = this.#options;
    this.#tunnels = cachedTunnels(world, settings.namespace);
    this.#namespaces.begin();
    const table = compileRoutes({
      tunnels: this.#tunnels,
      bindings: world.values("bindings"),
      policies: world.values("policies"),
      service: (key) => world.get("services", key),
      namespace: (name) => this.#namespaces.get(name),
      ca: (path) => this.#cas.get(path),
      credential: (path) => this.#credentials.get(path),
      callerToken: (path) => this.#callerTokens.get(path),
      idPrefix: settings.idPrefix,
    }, digest);
    // A source that has not been read yet must not count as missing.
    if (!this.#sources.every(({ isComplete }) => isComplete)) return;
    for (const source of this.#sources) source.forgetUnused();
    this.#table = table;
    compiled();
  }
}
