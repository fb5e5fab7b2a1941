/** What sign-in needs of this machine: its keys, the clients' secrets, and the store of several relays. */
import { ConfigError } from "../../../config/config_error.ts";
import type { Services } from "../../../config/entries/services.ts";
import { readTextFile } from "../../../config/files.ts";
import { readSessionKeys, sessionKeysSource } from "../../../config/session_keys.ts";
import type { Login } from "../../../domain/login.ts";
import type { OidcProvider } from "../../../domain/provider.ts";
import { systemClock } from "../../../jwt/clock.ts";
import { BoundedStore } from "../../../relay/directory/bounded_store.ts";
import type { Relay } from "../../../relay/relay.ts";
import { WebSignIn } from "../../../relay/routes/web_sign_in.ts";
import { clientOf } from "../../../relay/signin/client.ts";
import type { OidcClient } from "../../../relay/signin/oidc_provider.ts";
import {
  type DeviceStore,
  MemoryDevices,
  SharedDevices,
} from "../../../relay/signin/programs/device_codes.ts";
import { sessionKeyBytes, SessionKeys } from "../../../relay/signin/seals.ts";
import { MemorySessions } from "../../../relay/signin/sessions/memory_sessions.ts";
import type { Sessions } from "../../../relay/signin/sessions/sessions.ts";
import type { SignInAudit } from "../../../relay/signin/sign_in_audit.ts";
import { SharedSessions } from "../../../relay/signin/sessions/shared_sessions.ts";
import { SignIn, type SignInOptions } from "../../../relay/signin/sign_in.ts";
import { followConfig } from "../followed_config.ts";
import type { WatchedFiles } from "../watched_files.ts";
import { openDirectoryStore } from "./directory_store.ts";
import type { RelaySetup } from "./setup.ts";

/** Sign-in of one relay: begins with the first configuration that has `login`. */
export class RelaySignIn {
  readonly #relay: Relay;
  readonly #options: RelaySetup;
  readonly #scheme: "https" | "http";
  #keys: SessionKeys | undefined;
  #sessions: Sessions | undefined;
  #devices: DeviceStore = new MemoryDevices(systemClock.nowMs);
  #closeStore: (() => Promise<void>) | undefined;

  /** @param scheme of the web listener's URLs */
  constructor(relay: Relay, options: RelaySetup, scheme: "https" | "http") {
    this.#relay = relay;
    this.#options = options;
    this.#scheme = scheme;
  }

  /**
   * Uses what services' files say about sign-in, together with the rest of them.
   *
   * @param use puts the services in use
   * @throws {ConfigError} when a client's secret can't be read; nothing has changed then
   */
  async apply<Result>(services: Services, use: () => Promise<Result>): Promise<Result> {
    const { login, providers } = services;
    if (!login) {
      this.#relay.signIn = undefined;
      this.#relay.people.sessions = undefined;
      this.#relay.callers.signedIn = undefined;
      return await use();
    }
    const clients = providers.filter((provider) => provider.kind === "oidc")
      .map((provider) => clientOf(provider, secretOf(provider)));
    const { provider, sessionMs, deviceFlow } = login;
    const options = { loginOrigin: this.#originOf(login), sessionMs, provider, deviceFlow };
    const known = this.#relay.signIn;
    const result = await use();
    if (known) known.signIn.replace(options, clients);
    else await this.#begin(login, options, clients);
    return result;
  }

  #originOf({ host: { name, port } }: Login): string {
    return `${this.#scheme}://${name}${port === undefined ? "" : `:${port}`}`;
  }

  async #begin(
    login: Login,
    options: SignInOptions,
    clients: readonly OidcClient[],
  ): Promise<void> {
    const relay = this.#relay;
    const changed = (): void => relay.callers.open.review();
    this.#keys ??= await SessionKeys.from(this.#keysAtStart(), systemClock);
    this.#sessions ??= await this.#openSessions(login, this.#keys, changed);
    let web: WebSignIn | undefined = undefined as WebSignIn | undefined;
    const signIn = new SignIn(options, clients, {
      clock: systemClock,
      log: relay.log,
      audit: auditOf(relay),
      keys: this.#keys,
      sessions: this.#sessions,
      fetch: (url, init) => fetch(url, init),
      devices: this.#devices,
      keepsProof: () => relay.mapsPeople,
      siteOf: (hostname) => web?.siteOf(hostname),
      decide: (site, session, address) => web!.decide(site, session, address),
    });
    web = new WebSignIn(relay, signIn, { scheme: this.#scheme });
    if (this.#scheme === "http") {
      relay.log.warn(
        "People sign in without TLS: their cookies are for tests on this machine only",
        {
          login: options.loginOrigin,
        },
      );
    }
    relay.signIn = web;
    relay.people.sessions = web.reader;
    relay.callers.signedIn = web.reader;
  }

  #keysAtStart(): Uint8Array[] {
    const { sessionKeys: file } = this.#options;
    if (file) return readSessionKeys(file.text, sessionKeysSource(file.path));
    const shared = this.#options.worker?.sessionKey;
    return [shared ?? crypto.getRandomValues(new Uint8Array(sessionKeyBytes))];
  }

  async #openSessions(
    { idleMs }: Login,
    keys: SessionKeys,
    changed: () => void,
  ): Promise<Sessions> {
    const { directory } = this.#options;
    const relay = this.#relay.settings.instance!;
    if (!directory) {
      return new MemorySessions({ nowMs: systemClock.nowMs, idleMs, relay, changed });
    }
    const store = new BoundedStore(await openDirectoryStore(this.#options));
    const sessions = new SharedSessions({
      store,
      keys,
      clock: systemClock,
      log: this.#relay.log,
      idleMs,
      relay,
      changed,
    });
    this.#devices = new SharedDevices(store);
    store.onReady = () => sessions.reconnected();
    store.open();
    sessions.open();
    // What is asked already may have been asked too early.
    this.#options.worker?.followStore(async () => {
      await sessions.poll();
      await sessions.poll();
    });
    this.#closeStore = async () => {
      await sessions.close();
      store.close();
    };
    return sessions;
  }

  /** Takes over other keys when their file changes. */
  followKeys(): WatchedFiles[] {
    const { sessionKeys: file } = this.#options;
    if (!file) return [];
    const { metrics, log } = this.#relay;
    return [followConfig({
      source: "session_keys",
      paths: [file.path],
      known: [file],
      apply: async ([changed]) => {
        const keys = readSessionKeys(changed?.text ?? "", sessionKeysSource(file.path));
        await this.#keys?.replace(keys);
        this.#relay.signIn?.signIn.keysReplaced();
        return { keys: keys.length };
      },
      metrics,
      log,
    })];
  }

  async close(): Promise<void> {
    await this.#closeStore?.();
  }
}

/** Nobody waits for these records: what they are about is done, and requests have records of their own. */
function auditOf({ audit, metrics }: Relay): SignInAudit | undefined {
  return audit &&
    ((event, record) =>
      audit.log.append({ time: new Date().toISOString(), event, ...record }, (isWritten) => {
        if (!isWritten) metrics.auditFailed();
      }));
}

/** The line's end that an editor leaves is no part of a secret. @throws {ConfigError} */
function secretOf({ name, clientSecret, clientSecretFile }: OidcProvider): string | undefined {
  if (clientSecretFile === undefined) return clientSecret;
  const origin = `Provider ${JSON.stringify(name)}: clientSecretFile`;
  const secret = readTextFile({ origin, path: clientSecretFile }).replace(/\r?\n$/, "");
  if (secret !== "") return secret;
  throw new ConfigError(`${origin} is ${JSON.stringify(clientSecretFile)}, which is empty`);
}
