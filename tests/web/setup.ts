/** A web listener with certificates of a folder, before an app of the test's own. */
import { AddressRanges } from "../../lib/domain/address_ranges.ts";
import { dateField } from "../../lib/http1/date.ts";
import { defaultHeadLimits, field, getField, type RequestHead } from "../../lib/http1/head.ts";
import type { Exchange } from "../../lib/net/exchange.ts";
import { defaultConnectionTimeouts } from "../../lib/net/http_connection.ts";
import type { NodeBindings } from "../../lib/runtime/node/http_dispatcher.ts";
import { HttpServer, type HttpServerOptions } from "../../lib/runtime/node/http_server.ts";
import { WebCertificates } from "../../lib/runtime/node/web/web_certificates.ts";
import { Authority, withFolder } from "../support/certificates.ts";

/** What a test has of a listener. */
export interface WebListener {
  readonly server: HttpServer;
  readonly port: number;
  readonly ca: string;
  readonly authority: Authority;
  /** With the pairs that the listener shows. */
  readonly folder: string;
  readonly certificates: WebCertificates;
  /** What the listener said, in order. */
  readonly told: string[];
}

/** How a listener differs from the usual. */
export interface WebListenerOptions extends Partial<HttpServerOptions> {
  /** The names of each pair. */
  readonly pairs?: Readonly<Record<string, string>>;
  readonly handle?: (exchange: Exchange, bindings: NodeBindings) => void;
  readonly trusted?: string;
}

/** Issues a certificate into a folder of pairs. */
export async function addPair(
  { authority, folder }: Pick<WebListener, "authority" | "folder">,
  name: string,
  names: string,
): Promise<void> {
  const { certPath, keyPath } = await authority.issue(name, names);
  await Deno.copyFile(keyPath, `${folder}/${name}.key`);
  await Deno.copyFile(certPath, `${folder}/${name}.crt`);
}

/** Answers with what was asked. */
export function echo(exchange: Exchange): void {
  const { head, peer, framing } = exchange;
  const pieces: Uint8Array[] = [];
  exchange.readBody({
    data: (bytes) => void pieces.push(bytes),
    end() {
      const body = new TextDecoder().decode(new Uint8Array(pieces.flatMap((piece) => [...piece])));
      answerJson(exchange, {
        method: head.method,
        target: head.target,
        fields: head.fields.map(({ name, value }) => [name, value]),
        framing: framing.kind,
        body,
        address: peer.address,
        isTls: peer.isTls,
        serverName: peer.requestedName?.serverName ?? null,
        shares: peer.requestedName?.sharesCertificate(hostOf(head)) ?? null,
      });
    },
  });
}

function hostOf({ fields }: RequestHead): string {
  return getField(fields, "host")!.replace(/:\d+$/, "");
}

export function answerJson(exchange: Exchange, value: unknown): void {
  const body = new TextEncoder().encode(JSON.stringify(value));
  exchange.answer(200, "OK", [field("Content-Type", "application/json"), dateField()], body);
}

/** Runs a test with a listener, and ends that. */
export async function withWebListener(
  { pairs = { own: "DNS:localhost" }, handle = echo, trusted, ...options }: WebListenerOptions,
  test: (listener: WebListener) => Promise<void>,
): Promise<void> {
  await withFolder(async (root) => {
    const authority = await Authority.create(root, "own");
    const folder = `${root}/pairs`;
    await Deno.mkdir(folder);
    for (const [name, names] of Object.entries(pairs)) {
      await addPair({ authority, folder }, name, names);
    }
    const certificates = await WebCertificates.load(folder);
    const told: string[] = [];
    const server = new HttpServer({
      fetch(_request, bindings) {
        handle(bindings.exchange, bindings);
        return bindings.alreadyAnswered;
      },
      certificates,
      limits: defaultHeadLimits,
      timeouts: defaultConnectionTimeouts,
      connections: { max: 0, maxPerAddress: 0 },
      ...trusted && { proxies: { ranges: AddressRanges.parse(trusted)!, sendHeader: false } },
      handshakeFailed: ({ reason }) => told.push(`handshake ${reason}`),
      refused: (status, reason) => told.push(`refused ${status} ${reason}`),
      abused: (how) => told.push(`abused ${how}`),
      fault: (error) => told.push(`fault ${error}`),
      ...options,
    });
    const { port } = await server.listen("127.0.0.1", 0);
    const ca = await Deno.readTextFile(authority.caPath);
    try {
      await test({ server, port, ca, authority, folder, certificates, told });
    } finally {
      await certificates.close();
      server.close();
    }
  });
}
