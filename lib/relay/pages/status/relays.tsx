/** The relays themselves: certificates, reloads, limits. */
import type {
  CertificateStatus,
  LimitHitStatus,
  RelayStatus,
  ReloadStatus,
  Status,
} from "../../../domain/status.ts";
import { count } from "../bytes.ts";
import { type Column, Table } from "../table.tsx";
import { utc, When } from "../time.tsx";
import { visible } from "../visible.ts";
import { shortId } from "./attention.ts";

interface Props {
  readonly status: Status;
}

/** The relays. */
export function Relays({ status: { relays, atMs } }: Props) {
  const columns: Column<RelayStatus>[] = [
    {
      label: "Relay",
      cell: ({ id }) => <span class="mono" title={visible(id)}>{visible(shortId(id))}</span>,
    },
    { label: "State", cell: (relay) => <RelayState relay={relay} /> },
    { label: "Version", cell: ({ version }) => visible(version) },
    { label: "Started", cell: ({ startedMs }) => <When atMs={startedMs} nowMs={atMs} /> },
    { label: "Agents", kind: "number", cell: ({ agents }) => count(agents) },
    { label: "Open streams", kind: "number", cell: ({ openStreams }) => count(openStreams) },
  ];
  return (
    <Part id="relays" title="Relays" empty="">
      {relays.length > 0 && <Table caption="Relays" rows={relays} columns={columns} />}
    </Part>
  );
}

function RelayState({ relay }: { readonly relay: RelayStatus }) {
  const { fault, isStopping, isDirectoryUp } = relay;
  if (fault !== undefined) {
    return (
      <>
        <span class="state bad">Does not answer</span>
        <div class="fine">{visible(fault)}</div>
      </>
    );
  }
  if (isStopping) return <span class="state warn">Shutting down</span>;
  return isDirectoryUp === false
    ? <span class="state bad">Directory away</span>
    : <span class="state good">Serving</span>;
}

/** Certificates, the first to end first. */
export function Certificates({ status: { certificates, relays, atMs } }: Props) {
  const rows = [...certificates].sort((one, other) => one.notAfterMs - other.notAfterMs);
  const columns: Column<CertificateStatus>[] = [
    { label: "Certificate", cell: ({ option }) => <code>{visible(option)}</code> },
    {
      label: "Expires",
      cell: ({ notAfterMs }) => (
        <>
          <span class={kindOf(notAfterMs - atMs)}>
            <When atMs={notAfterMs} nowMs={atMs} />
          </span>
          <div class="fine">{utc(notAfterMs)}</div>
        </>
      ),
    },
    ...relayColumn(relays),
  ];
  return (
    <Part id="certificates" title="Certificates" empty="No listener has a certificate.">
      {rows.length > 0 && <Table caption="Certificates" rows={rows} columns={columns} />}
    </Part>
  );
}

const dayMs = 24 * 3_600_000;

function kindOf(leftMs: number): string {
  return leftMs <= 0 ? "bad" : leftMs < 14 * dayMs ? "warn" : "good";
}

const results: Readonly<Record<ReloadStatus["result"], readonly [kind: string, text: string]>> = {
  loaded: ["good", "Loaded"],
  applied: ["good", "Applied"],
  refused: ["bad", "Refused"],
};

/** How each part of the configuration was last read. */
export function Reloads({ status: { reloads, relays, atMs } }: Props) {
  const columns: Column<ReloadStatus>[] = [
    { label: "Source", cell: ({ source }) => <code>{visible(source)}</code> },
    {
      label: "Result",
      cell: ({ result, reason }) => (
        <>
          <span class={`state ${results[result][0]}`}>{results[result][1]}</span>
          {reason !== undefined && (
            <div class="fine">
              <bdi>{visible(reason, 600)}</bdi>
            </div>
          )}
        </>
      ),
    },
    { label: "When", cell: (reload) => <When atMs={reload.atMs} nowMs={atMs} /> },
    ...relayColumn(relays),
  ];
  return (
    <Part id="reloads" title="Configuration" empty="Nothing was read from files.">
      {reloads.length > 0 && <Table caption="Configuration" rows={reloads} columns={columns} />}
    </Part>
  );
}

/** Limits that were hit since the relays started. */
export function Limits({ status: { limitHits, relays, atMs } }: Props) {
  const columns: Column<LimitHitStatus>[] = [
    { label: "Limit", cell: ({ limit }) => <code>{visible(limit)}</code> },
    { label: "Hits", kind: "number", cell: (hit) => count(hit.count) },
    { label: "Last", cell: ({ lastMs }) => <When atMs={lastMs} nowMs={atMs} /> },
    ...relayColumn(relays),
  ];
  return (
    <Part id="limits" title="Limits hit" empty="No limit was hit since the start.">
      {limitHits.length > 0 && <Table caption="Limits hit" rows={limitHits} columns={columns} />}
    </Part>
  );
}

function relayColumn<Row extends { readonly relay: string }>(
  relays: readonly RelayStatus[],
): Column<Row>[] {
  if (relays.length < 2) return [];
  return [{
    label: "Relay",
    cell: ({ relay }) => <span class="mono">{visible(shortId(relay))}</span>,
  }];
}

function Part(
  { id, title, empty, children }: {
    readonly id: string;
    readonly title: string;
    readonly empty: string;
    // deno-lint-ignore no-explicit-any -- what JSX makes of `false` and elements
    readonly children: any;
  },
) {
  return (
    <section id={id} data-live aria-labelledby={`${id}-title`}>
      <div class="heading">
        <h2 id={`${id}-title`}>{title}</h2>
      </div>
      {children === false ? <p class="empty">{empty}</p> : children}
    </section>
  );
}
