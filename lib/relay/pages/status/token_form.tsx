/** Asks a browser's user for a token of the admin API. */
import { visible } from "../visible.ts";

/** @see TokenForm */
export interface TokenFormProps {
  readonly action: string;
  /** Why the last one was refused. */
  readonly fault: string | undefined;
}

/** The form. Password managers know the field by its kind. */
export function TokenForm({ action, fault }: TokenFormProps) {
  return (
    <>
      {fault !== undefined && <p class="note bad" role="alert">{visible(fault, 300)}</p>}
      <form method="post" action={action} class="fields">
        <label for="token">Token of the admin API</label>
        <input
          id="token"
          name="token"
          type="password"
          autocomplete="current-password"
          required
          maxlength={1_000}
        />
        <button type="submit">Show the status</button>
      </form>
      <p class="fine">This browser keeps a session of 8 hours, not the token.</p>
    </>
  );
}
