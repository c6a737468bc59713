"""The main job: each stack of a session is corrected with its neighbors in time.

A stack goes through four tasks, named as on Dask's dashboard. `run.KomaJob` says which of them have become
possible, and Dask schedules them.

1. ``sum-stack`` (`sum_stack.sum_stack`) reads the frames once: exact sum, digest, fingerprint.
2. ``mask-stack`` (`sum_stack.mask_stack`) finds the outliers of the sum. Sum, mask and record of the stack
   go into the session store.
3. `judged_stacks.JudgedStacks` decides from the records which stacks are usable, and where epochs begin.
4. `windows.windows_of` chooses the neighbors that correct a stack, and says when that is final.
5. ``window`` (`window_sums.advance_windows`) makes the sums of the windows from those of the stack before:
   members that leave are taken out, members that enter are put in.
6. ``correct-stack`` (`correct_stack.correct_stack`) fits the references of the windows to the stack
   (`fit_stack`), then corrects and writes it frame by frame, and measures its correlated noise.

`footer` keeps outputs of earlier runs that are still right; `outputs` has the three ways to write;
`follow` is the same job on a folder that grows; `opening` opens outputs lazily.
"""
