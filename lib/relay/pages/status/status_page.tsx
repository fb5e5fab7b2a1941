/** The status page, put together. */
import { bytes, count } from "../bytes.ts";
import { Chart } from "../chart.tsx";
import { visible } from "../visible.ts";
import { findingsOf } from "./attention.ts";
import { Clusters } from "./clusters.tsx";
import type { Sample, Section, StatusModel } from "./model.ts";
import { Certificates, Limits, Relays, Reloads } from "./relays.tsx";
import { Services } from "./services.tsx";
import { Sessions } from "./sessions.tsx";
import { pathOf, statusPath } from "./links.ts";
import { Requests, Streams } from "./streams.tsx";

const lists = {
  clusters: Clusters,
  services: Services,
  streams: Streams,
  sessions: Sessions,
  requests: Requests,
};

/** Everything, or one list of it. */
export function StatusPage(model: StatusModel) {
  const { section } = model.query;
  if (section !== undefined) {
    const List = lists[section];
    return (
      <>
        <p>
          <a href={statusPath}>Status</a>
        </p>
        <List {...model} />
      </>
    );
  }
  return (
    <>
      <Summary {...model} />
      <Attention {...model} />
      <Clusters {...model} />
      <Services {...model} />
      <Streams {...model} />
      <Sessions {...model} />
      <Requests {...model} />
      {model.isWhole && (
        <div class="columns">
          <Relays {...model} />
          <Certificates {...model} />
          <Reloads {...model} />
          <Limits {...model} />
        </div>
      )}
    </>
  );
}

/** When the picture was taken, and whether it is live; below the title. */
export function AsOf({ atMs }: { readonly atMs: number }) {
  return (
    <p id="as-of" class="quiet-text" data-live>
      As of{" "}
      <time datetime={new Date(atMs).toISOString()}>
        {new Date(atMs).toISOString().slice(11, 19)} UTC
      </time>
    </p>
  );
}

function Summary({ status, people, history }: StatusModel) {
  const { clusters, relays } = status;
  const connected = clusters.filter(({ agents }) => agents.length > 0).length;
  const agents = clusters.reduce((sum, cluster) => sum + cluster.agents.length, 0);
  const latest = history.at(-1);
  const values = (of: (sample: Sample) => number) => history.map(of);
  return (
    <ul id="summary" class="tiles" data-live aria-label="Summary">
      <Tile name="Clusters connected" value={`${count(connected)} of ${count(clusters.length)}`} />
      <Tile
        name="Agents"
        value={count(agents)}
        values={values((sample) => sample.agents)}
      />
      <Tile
        name="Open streams"
        value={count(status.streams.length)}
        values={values((sample) => sample.openStreams)}
        section="streams"
      />
      <Tile
        name="Throughput"
        value={latest ? `${bytes(latest.bytesPerSecond)}/s` : "–"}
        values={values((sample) => sample.bytesPerSecond)}
      />
      {people && (
        <Tile
          name="People signed in"
          value={count(new Set(people.sessions.map(({ user }) => user)).size)}
          section="sessions"
        />
      )}
      {relays.length > 1 && <Tile name="Relays" value={count(relays.length)} />}
    </ul>
  );
}

function Tile(
  { name, value, values = [], section }: {
    readonly name: string;
    readonly value: string;
    readonly values?: readonly number[];
    readonly section?: Section;
  },
) {
  return (
    <li>
      <span class="fine">{section ? <a href={pathOf(section)}>{name}</a> : name}</span>
      <strong>{value}</strong>
      <Chart values={values} label={`${name} in the last minutes, at this relay`} />
    </li>
  );
}

function Attention({ status }: StatusModel) {
  const findings = findingsOf(status);
  return (
    <section id="attention" data-live aria-labelledby="attention-title">
      <h2 id="attention-title" class="away">Needs attention</h2>
      {findings.length === 0
        ? <p class="note good">Nothing needs attention.</p>
        : (
          <ul class="findings">
            {findings.map(({ level, text, href }) => (
              <li key={text} class={`note ${level}`}>
                <span class={level}>{level === "bad" ? "Fault" : "Notice"}</span>
                <span>
                  <bdi>{visible(text, 600)}</bdi>
                </span>
                {href !== undefined && <a href={href}>Show</a>}
              </li>
            ))}
          </ul>
        )}
    </section>
  );
}
