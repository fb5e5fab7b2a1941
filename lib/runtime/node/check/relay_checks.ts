/** The checks of an agent's way to its relay, up to a handshake with its token. */
import type { Check } from "../../../commands/check_report.ts";
import { addressOfUrl, formatAddress } from "../../../config/options/address.ts";
import type { TunnelSocket } from "../../../protocol/socket.ts";
import { dialThroughProxy, openConnectionVia } from "../dial_proxy.ts";
import { dialRelay, type RelayDialOptions, relayTls } from "../dial_relay.ts";
import { relayFailure } from "../relay_failure.ts";
import { readCertificates } from "../certificates.ts";
import { secure } from "../verified_tls.ts";
import { dateFault } from "../../tls_advice.ts";
import { describe, factsOfCertificate, shownBy } from "./peer_certificate.ts";
import { reachChecks } from "./reach.ts";

/** How long the whole handshake may take, with TLS and a delayed refusal, in milliseconds. */
const handshakeTimeoutMs = 10_000;
/** How long the relay may take to confirm that the check leaves, in milliseconds. */
const leaveTimeoutMs = 2_000;

/** All of them, in order. */
export function relayChecks(options: RelayDialOptions): Check[] {
  const { url, proxy } = options;
  const address = addressOfUrl(new URL(url));
  const direct = reachChecks({ name: "relay", ...address, option: "--server" });
  return [
    ...(proxy ? proxyChecks(options) : direct),
    ...(options.cert === undefined ? [] : [ownCertificate(options.cert)]),
    ...(url.startsWith("wss:")
      ? [{ name: "relay TLS", run: (signal: AbortSignal) => checkTls(options, signal) }]
      : []),
    {
      name: "relay token",
      timeoutMs: handshakeTimeoutMs,
      run: (signal) => checkToken(options, signal),
    },
  ];
}

/** Through a proxy, the relay's name is the proxy's to resolve. */
function proxyChecks({ url, proxy }: RelayDialOptions): Check[] {
  const authority = formatAddress(addressOfUrl(new URL(url)));
  return [
    ...reachChecks({ name: "proxy", ...proxy!, option: "--proxy, --proxy-file or HTTPS_PROXY" }),
    {
      name: "proxy tunnel",
      async run(signal) {
        (await dialThroughProxy(proxy!, authority, signal)).destroy();
        return `the proxy connects to ${authority}`;
      },
    },
  ];
}

/** The relay's refusal of an expired certificate would not say that it is that. */
function ownCertificate(chain: string): Check {
  return {
    name: "client certificate",
    run() {
      const [certificate] = readCertificates(chain);
      if (!certificate) throw new Error("--client-cert has no certificate that can be read");
      const facts = factsOfCertificate(certificate);
      const fault = dateFault(facts, Date.now());
      if (fault === undefined) return Promise.resolve(describe(facts));
      throw new Error(`${fault}; renew the file in --client-cert, or set the clock`);
    },
  };
}

async function checkTls(options: RelayDialOptions, signal: AbortSignal): Promise<string> {
  const tls = relayTls(options);
  const address = addressOfUrl(new URL(options.url));
  try {
    const connection = await openConnectionVia(options.proxy, address, signal);
    const socket = await secure(connection, tls, signal);
    const certificate = shownBy(socket);
    socket.destroy();
    return describe(certificate);
  } catch (error) {
    signal.throwIfAborted();
    const attempt = {
      isSecure: true,
      hasCertificate: tls.cert !== undefined,
      isEstablished: false,
    };
    throw relayFailure(error as Error, attempt);
  }
}

async function checkToken(options: RelayDialOptions, signal: AbortSignal): Promise<string> {
  const socket = await dialRelay({ ...options, timeoutMs: handshakeTimeoutMs }, signal);
  await leave(socket);
  return "the relay accepts --token" +
    (options.cert === undefined ? "" : ", and the certificate in --client-cert");
}

/**
 * A relay registers a session when it has the agent's Settings. The check sends none, so it neither
 * replaces the running agent's session nor gets a request.
 */
async function leave(socket: TunnelSocket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(() => socket.terminate(), leaveTimeoutMs);
  socket.listen({ message() {}, text() {}, drained() {}, closed: () => resolve() });
  socket.close(1000, "agent check");
  await promise;
  clearTimeout(timer);
}
