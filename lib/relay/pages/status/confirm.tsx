/** The page that asks before something is ended, and the one about a service that was checked. */
import { visible } from "../visible.ts";
import { statusPath } from "./links.ts";

/** What is about to happen, and to what. */
export interface ConfirmProps {
  readonly text: string;
  readonly facts: readonly (readonly [name: string, value: string])[];
  readonly action: string;
  /** What the form says of it. */
  readonly fields: Readonly<Record<string, string>>;
  readonly label: string;
  readonly isDangerous: boolean;
}

/** @see ConfirmProps */
export function Confirm({ text, facts, action, fields, label, isDangerous }: ConfirmProps) {
  return (
    <>
      <p>{text}</p>
      <Facts facts={facts} />
      <form method="post" action={action}>
        {Object.entries(fields).map(([name, value]) => (
          <input key={name} type="hidden" name={name} value={value} />
        ))}
        <button type="submit" class={isDangerous ? "danger" : undefined}>{label}</button>
        <a class="button quiet" href={statusPath}>Back</a>
      </form>
    </>
  );
}

/** Names and values. */
export function Facts({ facts }: Pick<ConfirmProps, "facts">) {
  return (
    <dl>
      {facts.map(([name, value]) => (
        <>
          <dt>{name}</dt>
          <dd>
            <bdi>{visible(value, 600)}</bdi>
          </dd>
        </>
      ))}
    </dl>
  );
}
